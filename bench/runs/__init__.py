"""One run: its workspace, training, prediction, floors, scores and controls."""
