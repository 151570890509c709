"""``bench``: what is measured is said in full, and the figures agree with each other."""

import pytest

from labsem.networks.allocator import ALLOCATOR_ENVIRONMENT


@pytest.mark.slow
def test_one_frame_against_the_reference(labsem):
    size = ("--width-px", 192, "--height-px", 128)
    ended = labsem("bench", "segment", "--at", 4, "--repeats", 1, "--threads", 1, *size, "--json")
    assert ended.code == 0
    found = ended.json
    assert found["allocator"] == ALLOCATOR_ENVIRONMENT
    assert found["threads"] == 1 and found["precision"] in ("float32", "bfloat16")
    assert found["cpu"] and found["versions"]["torch"] and found["model"]["sha256"]
    at = found["at"]["4"]
    assert 0 < at["reference_seconds_without_pasting"] < at["reference_seconds"]
    assert at["ratio"] == pytest.approx(at["reference_seconds"] / at["seconds"], rel=0.02)


def test_frames_go_through_a_daemon(labsem):
    size = ("--width-px", 256, "--height-px", 192, "--particles", 5)
    ended = labsem("bench", "throughput", "--frames", 3, *size, "--segmenter", "otsu", "--json")
    assert ended.code == 0
    found = ended.json
    assert found["frames"] == 3 and found["paper_frames_a_minute"] == 96
    assert found["frames_a_minute"] == pytest.approx(180 / found["seconds"], rel=0.01)
    assert set(found["stages"]) == {"reading", "segmentation", "measurement", "rest"}
    assert found["model"]["name"] == "otsu-watershed"
