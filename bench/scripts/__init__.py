"""Programs that regenerate what the project ships: coverage record, manifests, labeler figures."""
