"""What a worker makes of a file, without a process."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from schemas.morphology import Regime
from schemas.settings import ModelSettings, ReadSettings, RescanSettings
from services.daemon.work import FrameBefore, FrameJob, FrameProblem, FrameResult, WorkerOptions
from services.daemon.worker import answer
from services.segmenters import OtsuSegmenter

OPTIONS = WorkerOptions("otsu", ModelSettings(), ReadSettings(), RescanSettings(), "warning", False)


@pytest.fixture
def job(frames):
    def make(path, *, plain: bool = False, before: FrameBefore | None = None, **changes) -> FrameJob:
        event = frames.event(path, "s", **changes)
        return FrameJob(event, None, str(frames.folder), plain, before, 0.03, False)

    return make


def analysed(job: FrameJob, options: WorkerOptions = OPTIONS) -> FrameResult | FrameProblem:
    return answer(OtsuSegmenter(), job, options)


def test_a_frame_is_routed_segmented_and_measured(frames, job) -> None:
    result = analysed(job(frames.write("a.tif")))
    assert isinstance(result, FrameResult)
    assert result.regime is Regime.LOW
    assert len(result.particles) == result.numbers.particle_count == 20
    assert result.acquisition.hfw_um == pytest.approx(80.0)
    assert result.registration is None


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(b""), "wrong_size"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "wrong_hash"),
    ],
)
def test_a_file_that_is_not_the_events_is_a_problem_with_a_remedy(frames, job, damage, code) -> None:
    path = frames.write("a.tif")
    made = job(path)
    damage(path)
    problem = analysed(made)
    assert isinstance(problem, FrameProblem)
    assert (problem.code, problem.passing) == (code, False)
    assert "a.tif" in problem.message
    assert "labsem frames retry" in problem.remedy


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda content: b"", "empty"),
        (lambda content: content[: len(content) // 2], "truncated"),
        (lambda content: b"GIF89a", "unsupported"),
    ],
)
def test_a_file_that_is_no_frame_is_a_problem(frames, job, damage, code) -> None:
    path = frames.write("a.tif")
    path.write_bytes(damage(path.read_bytes()))
    problem = analysed(job(path))
    assert isinstance(problem, FrameProblem)
    assert problem.code == code


def test_limits_hold_before_anything_is_decoded(frames, job) -> None:
    path = frames.write("a.tif")
    tight = WorkerOptions(
        "otsu", ModelSettings(), ReadSettings(max_pixels=1000), RescanSettings(), "warning", False
    )
    problem = analysed(job(path), tight)
    assert isinstance(problem, FrameProblem)
    assert problem.code == "too_large"


def test_a_link_out_of_the_root_is_refused(frames, job, tmp_path) -> None:
    outside = frames.write("a.tif").rename(tmp_path / "outside.tif")
    link = frames.folder / "link.tif"
    link.symlink_to(outside)
    problem = analysed(job(link))
    assert isinstance(problem, FrameProblem)
    assert problem.code == "outside_root"


def test_what_a_segmenter_raises_is_worth_another_attempt(frames, job) -> None:
    class Breaks(OtsuSegmenter):
        def segment(self, pixels, regime):
            raise RuntimeError("out of memory")

    problem = answer(Breaks(), job(frames.write("a.tif")), OPTIONS)
    assert isinstance(problem, FrameProblem)
    assert (problem.code, problem.passing) == ("analysis_failed", True)
    assert "out of memory" in problem.message


def test_a_plain_frame_has_its_files_time_and_may_have_been_mended(frames, job) -> None:
    path = frames.write("a.tif")
    made = job(path, plain=True, acquired_at=datetime.fromtimestamp(path.stat().st_mtime, UTC))
    result = analysed(made)
    assert isinstance(result, FrameResult)
    assert result.acquired_at == made.event.acquired_at
    frames.write("a.tif", scene=2)
    mended = analysed(made)
    assert isinstance(mended, FrameResult)
    assert mended.sha256 != made.event.sha256


def test_a_rescan_is_registered_with_the_frame_before(frames, job) -> None:
    before = frames.write("before.tif", blur_px=4)
    made = job(frames.write("after.tif"))
    first = FrameBefore(str(before), made.event.acquisition, None)
    result = analysed(job(frames.folder / "after.tif", before=first))
    assert isinstance(result, FrameResult)
    assert result.registration is not None
    assert result.registration.clear
    assert result.registration.overlap_fraction > 0.98
    before.unlink()
    gone = analysed(job(frames.folder / "after.tif", before=first))
    assert isinstance(gone, FrameResult)
    assert gone.registration is None
    assert np.array_equal(gone.particles.label, result.particles.label)
