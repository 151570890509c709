"""A run over many frames: one after another in a process of its own, so that no file can stop the run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import structlog

from labsem.frames import FrameError, find_frames
from labsem.networks.manifest import WeightsError
from services.analyze.options import AnalyzeError, AnalyzeOptions
from services.analyze.summary import FrameSummary
from services.segmenters import Segmenter, SegmenterError, load_segmenter, resolve
from services.workers import allocator_environment, worker_pool

log = structlog.get_logger(__name__)

Progress = Callable[[int, int, Path], None]
"""Called with frames done, frames in all, and the frame that comes next (the last one at the end)."""


def _silent(done: int, total: int, path: Path) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class FrameResult:
    """What became of one file: a summary, or an error with its remedy."""

    path: Path
    name: str
    summary: FrameSummary | None
    error: str = ""
    remedy: str = ""
    resumed: bool = False

    def row(self) -> dict[str, Any]:
        """One item of ``--json``."""
        known = {} if self.summary is None else self.summary.row()
        return {
            "path": str(self.path),
            "name": self.name,
            "error": " ".join(filter(None, (f"{self.error};" if self.remedy else self.error, self.remedy)))
            or None,
            **(known or dict.fromkeys(EMPTY_ROW)),
        }


SIZES_PICTURE = "sizes.png"

EMPTY_ROW = (
    "pixel_size_nm",
    "hfw_um",
    "magnification",
    "regime",
    "accelerating_voltage_kv",
    "working_distance_mm",
    "instrument",
    "particle_count",
    "uncertain_fraction",
    "d50_number_all_um",
    "flags",
)
"""Keys that an item has in any case; null where the file could not be analysed."""


@dataclass(frozen=True)
class RunReport:
    """All files of a run, in order."""

    out: Path
    results: tuple[FrameResult, ...]
    interrupted: bool = False

    @property
    def analysed(self) -> tuple[FrameResult, ...]:
        """Files with a summary."""
        return tuple(result for result in self.results if result.summary is not None)

    @property
    def failed(self) -> tuple[FrameResult, ...]:
        """Files without one."""
        return tuple(result for result in self.results if result.summary is None)


def analyze(
    items: Iterable[str | Path],
    out: Path,
    options: AnalyzeOptions,
    *,
    recursive: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> RunReport:
    """Analyse files, folders and patterns; write each frame's files, then the run's tables and its page.

    A file that fails is named in the report, the tables and the page. An interrupt (Ctrl-C) ends the run after
    the frame in hand; the tables then hold what is done, and ``resume`` goes on from there.

    Raises
    ------
    FrameError
        Where an item names nothing.
    AnalyzeError
        Where no frame is found, or ``out`` cannot be written.
    SegmenterError, WeightsError
        Where the segmenter does not load.
    """
    from services.analyze.page import write_page
    from services.analyze.tables import write_sizes, write_tables

    resolve(options.segmenter)
    paths = [path for path in find_frames(items, recursive=recursive) if not _own_picture(path, out)]
    if not paths:
        raise AnalyzeError(
            f"no frames in {', '.join(str(item) for item in items)}; "
            "give TIFF, PNG or JPEG files, or --recursive for folders of folders"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AnalyzeError(f"{out} cannot be made ({error.strerror}); give another --out") from error
    report = _run(paths, out, options, resume, progress or _silent)
    write_tables(report)
    write_sizes(report)
    write_page(report, options)
    return report


def _run(
    paths: Sequence[Path], out: Path, options: AnalyzeOptions, resume: bool, progress: Progress
) -> RunReport:
    results: list[FrameResult] = []
    with _Worker() as worker:
        for index, (path, name) in enumerate(zip(paths, names(paths), strict=True)):
            try:
                progress(index, len(paths), path)
                results.append(worker.result(path, name, out, options, resume))
            except KeyboardInterrupt:
                return RunReport(out, tuple(results), interrupted=True)
        progress(len(paths), len(paths), paths[-1])
    return RunReport(out, tuple(results))


class _Worker:
    """One process that holds the segmenter; where it dies, the next frame gets a new one."""

    def __enter__(self) -> _Worker:
        self._pool: ProcessPoolExecutor | None = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def result(self, path: Path, name: str, out: Path, options: AnalyzeOptions, resume: bool) -> FrameResult:
        error = (future := self._submit(path, name, out, options, resume)).exception()
        if error is None:
            summary, resumed = future.result()
            return FrameResult(path, name, summary, resumed=resumed)
        if isinstance(error, SegmenterError | WeightsError):
            raise error
        if isinstance(error, FrameError):
            return FrameResult(path, name, None, error.reason, error.remedy)
        if isinstance(error, BrokenProcessPool):
            self._pool = None
            log.error("the analysis process died", path=str(path))
            return FrameResult(
                path, name, None, "the analysis process died on it", "it may need more memory than there is"
            )
        log.error("analysis failed", path=str(path), exc_info=error)
        return FrameResult(
            path, name, None, f"{type(error).__name__}: {error}", "see the log; please report it"
        )

    def _submit(
        self, path: Path, name: str, out: Path, options: AnalyzeOptions, resume: bool
    ) -> Future[tuple[FrameSummary, bool]]:
        with allocator_environment():
            if self._pool is None:
                self._pool = worker_pool()
            return self._pool.submit(_work, path, name, out, options, resume)


def _work(
    path: Path, name: str, out: Path, options: AnalyzeOptions, resume: bool
) -> tuple[FrameSummary, bool]:
    from services.analyze.frame import analyze_frame, finished

    segmenter = _segmenter(options)
    earlier = finished(path, name, out, segmenter, options) if resume else None
    if earlier is not None:
        return earlier, True
    return analyze_frame(path, name, out, segmenter, options), False


@cache
def _loaded(name: str, models: str) -> Segmenter:
    from schemas.settings import ModelSettings

    return load_segmenter(name, ModelSettings.model_validate_json(models))


def _segmenter(options: AnalyzeOptions) -> Segmenter:
    return _loaded(options.segmenter, options.models.model_dump_json())


def names(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its stem, with eight digits of its path's digest where another file has the same stem."""
    stems = Counter(path.stem.casefold() for path in paths)
    return [
        path.stem
        if stems[path.stem.casefold()] == 1
        else f"{path.stem}-{hashlib.sha256(path.absolute().as_posix().encode()).hexdigest()[:8]}"
        for path in paths
    ]


def _own_picture(path: Path, out: Path) -> bool:
    """Whether a frame is a picture that an earlier run wrote: the output folder may lie among the frames."""
    folder, home = path.resolve().parent, out.resolve()
    return folder in {home / name for name in ("overlays", "thumbnails", "labels")} or (
        folder == home and path.name == SIZES_PICTURE
    )
