"""How often out_of_distribution is raised, counted."""

import imagecodecs
import numpy as np

from labsem.evaluation.unlike import measure_unlike
from labsem.training.datasets import LabelledImage


def test_what_is_raised_is_counted_by_what_it_was(tmp_path) -> None:
    images = []
    for name, value in (("dark", 40), ("bright", 220)):
        path = tmp_path / f"{name}.png"
        path.write_bytes(imagecodecs.png_encode(np.full((20, 30), value, np.uint8)))
        images.append(LabelledImage(id=name, image_path=path, mask_path=None))
    told = []
    report = measure_unlike(
        lambda pixels, regime: float(pixels.mean()) > 100,
        {"two": images},
        foreign=6,
        simulated=1,
        progress=lambda done, total: told.append((done, total)),
    )
    two = report.in_domain["two"]
    assert (two.frames, two.raised, two.share, two.names) == (2, 1, 0.5, ("bright",))
    assert two.share_interval_95[0] < 0.5 < two.share_interval_95[1]
    assert report.foreign.frames == 6
    assert report.foreign.raised + len(report.foreign.names) == 6
    assert sum(one.raised for one in report.foreign_families.values()) == report.foreign.raised
    assert report.simulated.frames == 1
    assert told == [(place, 9) for place in range(1, 10)]
