"""Files of reports in the shapes that people have them in: what is in them, by which rule."""
