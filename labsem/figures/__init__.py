"""Pictures of frames and sizes; label images. Drawing needs matplotlib (extra ``analysis``)."""

from labsem.figures.images import write_label_tiff, write_thumbnail
from labsem.figures.overlay import draw_overlay
from labsem.figures.sizes import draw_sizes

__all__ = ["draw_overlay", "draw_sizes", "write_label_tiff", "write_thumbnail"]
