"""Shipped weights: ``NAME.safetensors`` beside ``NAME.json``, its manifest."""
