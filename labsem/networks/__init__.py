"""Uncertainty-aware Mask R-CNN after Rettenberger et al. 2024; the only package beside ``training`` that needs torch."""
