"""Labelled images from any source, and how clients share them."""
