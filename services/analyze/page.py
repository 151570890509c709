"""The page of a run, ``index.html``: one file without addresses of elsewhere, links relative to its folder."""

from __future__ import annotations

from importlib.resources import files
from typing import Any
from urllib.parse import quote

from labsem import __version__
from labsem.frames import write_atomically
from services.analyze.options import AnalyzeOptions
from services.analyze.run import SIZES_PICTURE, FrameResult, RunReport


def write_page(report: RunReport, options: AnalyzeOptions) -> None:
    """Write ``index.html`` into the run's folder."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    environment.filters["url"] = quote
    template = environment.from_string(files("services.analyze").joinpath("index.html.j2").read_text("utf-8"))
    page = template.render(
        version=__version__,
        rows=[_row(result) for result in report.analysed],
        failed=report.failed,
        interrupted=report.interrupted,
        totals=_totals(report),
        models=sorted({_model(result) for result in report.analysed}),
        settings=_settings(options),
        sizes=SIZES_PICTURE if (report.out / SIZES_PICTURE).is_file() else None,
    )
    write_atomically(report.out / "index.html", page.encode())


def _row(result: FrameResult) -> dict[str, Any]:
    summary = result.summary
    if summary is None:
        return {}
    all_particles = summary.sizes.number.all
    return {
        "name": result.name,
        "path": str(result.path),
        "outputs": summary.outputs,
        "regime": summary.regime.value,
        "hfw_um": summary.acquisition.hfw_um,
        "count": summary.particle_count,
        "uncertain": summary.uncertain_fraction.value,
        "d50_um": all_particles.d50_um,
        "d50_px": all_particles.d50_px,
        "focus": summary.focus,
        "flags": [flag.value.replace("_", " ") for flag in summary.flags],
    }


def _totals(report: RunReport) -> dict[str, int]:
    summaries = [result.summary for result in report.analysed if result.summary is not None]
    return {
        "files": len(report.results),
        "analysed": len(summaries),
        "failed": len(report.failed),
        "particles": sum(summary.particle_count for summary in summaries),
        "uncertain": sum(summary.uncertain_count for summary in summaries),
    }


def _model(result: FrameResult) -> str:
    if result.summary is None:
        return ""
    model = result.summary.model
    return f"{model.name} {model.version} ({model.sha256[:12]})"


def _settings(options: AnalyzeOptions) -> list[tuple[str, str]]:
    """Options that differ from the defaults and bear on the numbers."""
    given = {
        "pixel size": (options.pixel_size_nm, "nm"),
        "field width": (options.hfw_um, "µm"),
        "smallest diameter": (options.min_ecd_um, "µm"),
        "largest diameter": (options.max_ecd_um, "µm"),
        "regime": (options.regime.value if options.regime else None, ""),
        "segmenter": (options.segmenter if options.segmenter != "network" else None, ""),
    }
    return [
        (name, f"{_number(value)} {unit}".strip())
        for name, (value, unit) in given.items()
        if value is not None
    ]


def _number(value: Any, digits: int = 3) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
