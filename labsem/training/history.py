"""The logs of a training: ``losses.csv`` and ``validation.csv``, from which the report draws its curves."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from labsem.training.validation import ValidationResult

LOSSES = "losses.csv"
VALIDATION = "validation.csv"
_FLUSH_EVERY = 20


class _Log:
    """A CSV file that goes on where a resumed training does: rows past its step are dropped."""

    def __init__(self, path: Path, columns: Sequence[str], after_step: int) -> None:
        kept = read_log(path)[1] if after_step and path.is_file() else []
        kept = [row for row in kept if int(row["step"]) <= after_step]
        columns = list(kept[0]) if kept else list(columns)
        self._file: IO[str] = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, columns, restval="", extrasaction="ignore")
        self._writer.writeheader()
        self._writer.writerows(kept)
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _write(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow(row)
        self._rows += 1
        if self._rows % _FLUSH_EVERY == 0:
            self._file.flush()


class LossLog(_Log):
    """``losses.csv``: step, seconds, learning_rate and each loss by its name."""

    def __init__(self, folder: Path, names: Sequence[str], *, after_step: int) -> None:
        super().__init__(folder / LOSSES, ["step", "seconds", "learning_rate", *names], after_step)

    def write(self, step: int, seconds: float, rate: float, losses: Mapping[str, float]) -> None:
        """One row."""
        self._write(
            {"step": step, "seconds": f"{seconds:.1f}", "learning_rate": f"{rate:.3g}"}
            | {name: f"{value:.5f}" for name, value in losses.items()}
        )


class ValidationLog(_Log):
    """``validation.csv``: step, seconds, and the figures of each look at validation images."""

    def __init__(self, folder: Path, *, after_step: int) -> None:
        super().__init__(folder / VALIDATION, ["step", "seconds", "score", "aji_plus", "f1"], after_step)

    def write(self, step: int, seconds: float, result: ValidationResult) -> None:
        """One row, on the disk at once."""
        self._write({"step": step, "seconds": f"{seconds:.1f}"} | result.figures())
        self._file.flush()


def read_log(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a log; both empty where there is none."""
    if not path.is_file():
        return [], []
    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        # Asked for before the rows, since an empty file (of a killed process) has neither.
        columns = list(reader.fieldnames or ())
        return columns, list(reader)
