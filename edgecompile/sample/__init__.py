"""The embedded sample: pictures of small parts on a tray and a detection model trained on them."""
