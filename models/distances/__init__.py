"""Distances between sets of images: how far what a generator draws is from what it was shown."""
