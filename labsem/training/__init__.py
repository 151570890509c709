"""Labelled data, splits and the training of the networks."""
