"""The embedded sample: pictures of small parts on a tray and a model trained on them for each task."""
