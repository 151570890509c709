"""Shapes drawn as a network would give them: a soft probability inside a box."""

from __future__ import annotations

import numpy as np
import pytest

from labsem.segmentation import Segmentation


class Draw:
    """Draws discs, rectangles and whole segmentations."""

    fine = 8

    def _sampled(self, inside, size: int) -> np.ndarray:
        at = (np.arange(size * self.fine) + 0.5) / self.fine - 0.5
        coverage = (
            inside(at[None, :], at[:, None]).reshape(size, self.fine, size, self.fine).mean(axis=(1, 3))
        )
        return np.rint(coverage * 255).astype(np.uint8)

    def disc(self, diameter: float, dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
        size = int(diameter) + 6
        cx, cy = size / 2 + dx, size / 2 + dy
        return self._sampled(lambda x, y: (x - cx) ** 2 + (y - cy) ** 2 <= diameter**2 / 4, size)

    def rectangle(
        self, length: float, width: float, angle_deg: float, dx: float = 0.0, dy: float = 0.0
    ) -> np.ndarray:
        """Long side at ``angle_deg`` counter-clockwise as seen (y points down)."""
        size = int(np.hypot(length, width)) + 6
        cx, cy = size / 2 + dx, size / 2 + dy
        cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))

        def inside(x, y):
            along = (x - cx) * cos - (y - cy) * sin
            across = (x - cx) * sin + (y - cy) * cos
            return (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)

        return self._sampled(inside, size)

    def segmentation(self, parts, height: int, width: int, confidence=None) -> Segmentation:
        """``parts``: (probability, y0, x0); what lies outside the frame is cut off."""
        boxes, kept = [], []
        for probability, y0, x0 in parts:
            top, left = max(0, y0), max(0, x0)
            bottom, right = min(height, y0 + probability.shape[0]), min(width, x0 + probability.shape[1])
            boxes.append((top, left, bottom, right))
            kept.append(probability[top - y0 : bottom - y0, left - x0 : right - x0])
        n = len(kept)
        trust = np.full(n, 0.9) if confidence is None else np.asarray(confidence, float)
        return Segmentation(
            height_px=height,
            width_px=width,
            boxes=np.array(boxes, np.int32).reshape(n, 4),
            probabilities=tuple(kept),
            objectness=np.full(n, 0.95),
            confidence=trust,
            mask_quality=np.full(n, 0.8),
        )


@pytest.fixture(scope="session")
def draw() -> Draw:
    return Draw()
