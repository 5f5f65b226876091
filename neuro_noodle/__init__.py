"""Neuro Noodle: from a folder of images to a trained network, a map of what it learned, and an honest number."""
