"""A 7680x4800 frame within 3 GiB, in tiles, with the particles of its sixteen quarters of a quarter."""

import json
import os
import subprocess
import sys

import pytest

from labsem.networks.allocator import ALLOCATOR_ENVIRONMENT

MEASURED = """
import json, resource, sys
import numpy as np
from labsem.bench.frames import frame_of
from labsem.morphology import measure_particles, summarize_frame
from labsem.networks.segmenter import Segmenter
from labsem.store.masks import encode_masks
from schemas.morphology import Regime

part = frame_of(30, 5).pixels
segmenter = Segmenter.load(threads=1)
alone = len(segmenter.segment(part, Regime.LOW))
frame = np.tile(part, (4, 4)).astype(np.uint16) * 200
segmentation = segmenter.segment(frame, Regime.LOW)
particles = measure_particles(segmentation, 50.0)
summarize_frame(particles, frame)
blob = encode_masks(segmentation)
peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
json.dump([alone, len(segmentation), len(particles), len(blob), peak_gib], sys.stdout)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux gives it")
def test_a_large_frame_keeps_its_particles_and_within_memory() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED],
        env=os.environ | ALLOCATOR_ENVIRONMENT,
        stdout=subprocess.PIPE,
        check=True,
    )
    alone, found, measured, blob_bytes, peak_gib = json.loads(ended.stdout)
    assert found == pytest.approx(16 * alone, rel=0.1)
    assert measured <= found and blob_bytes > 0
    assert peak_gib < 3
