"""A 7680x4800 frame, from its file to all that is written of it: within 3 GiB, with all of its particles."""

import json
import os
import subprocess
import sys

import pytest

from labsem.networks.allocator import ALLOCATOR_ENVIRONMENT

MEASURED = """
import json, resource, sys
from pathlib import Path
import numpy as np
from labsem.bench.frames import frame_of
from labsem.frames import write_frame
from labsem.networks.segmenter import Segmenter
from labsem.store.masks import encode_masks
from schemas.morphology import Regime
from services.analyze.frame import analyze_frame
from services.analyze.options import AnalyzeOptions

class Counting:
    def segment(self, pixels, regime):
        found = segmenter.segment(pixels, regime)
        self.blob_bytes = len(encode_masks(found))
        return found

    def __getattr__(self, name):
        return getattr(segmenter, name)

folder = Path(sys.argv[1])
part = frame_of(30, 5).pixels
write_frame(folder / "large.tif", np.tile(part, (4, 4)).astype(np.uint16) * 200)
segmenter, counting = Segmenter.load(threads=1), Counting()
alone = len(segmenter.segment(part, Regime.LOW))
options = AnalyzeOptions(pixel_size_nm=50.0)
summary = analyze_frame(folder / "large.tif", "large", folder, counting, options)
peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
json.dump([alone, summary.particle_count, counting.blob_bytes, peak_gib], sys.stdout)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux gives it")
def test_a_large_frame_keeps_its_particles_and_within_memory(tmp_path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)],
        env=os.environ | ALLOCATOR_ENVIRONMENT,
        stdout=subprocess.PIPE,
        check=True,
    )
    alone, measured, blob_bytes, peak_gib = json.loads(ended.stdout)
    assert measured == pytest.approx(16 * alone, rel=0.1)
    assert blob_bytes > 0 and (tmp_path / "overlays" / "large.png").is_file()
    assert peak_gib < 3
