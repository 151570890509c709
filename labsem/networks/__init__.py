"""Uncertainty-aware Mask R-CNN after Rettenberger et al. 2024."""
