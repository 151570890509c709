"""Tables of ``labsem evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.cli.output import stdout, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from labsem.evaluation import EvaluationReport, ModelDifference
    from labsem.evaluation.ladders import SimulatedCertainty


def show_reports(reports: Mapping[str, EvaluationReport]) -> None:
    """All figures, a model a column; where the terminal is too narrow for that, one table for each model."""
    from labsem.evaluation.table import figure_rows, size_rows

    title = _title(next(iter(reports.values())))
    whole = [
        _columns(title, list(reports), figure_rows(reports)),
        _columns("recall by diameter, px", list(reports), size_rows(reports)),
    ]
    if len(reports) == 1 or all(_fits(each) for each in whole):
        for each in whole:
            stdout().print(each)
    else:
        for name, report in reports.items():
            one = {name: report}
            stdout().print(_columns(f"{name}: {title}", ["value"], figure_rows(one)))
            stdout().print(_columns(f"{name}: recall by diameter, px", ["value"], size_rows(one)))
    for name, report in reports.items():
        if len(report.groups) > 1:
            rows = [
                (group, found.images, found.particles, found.aji_plus, found.f1)
                for group, found in report.groups.items()
            ]
            columns = ("group", "images", "particles", "AJI+", "F1")
            stdout().print(table(f"{name}: by group", columns, rows, right=columns[1:]))


def show_differences(differences: Sequence[ModelDifference]) -> None:
    """Paired differences of every two models."""
    if not differences:
        return
    rows = [
        (
            f"{each.first} less {each.second}",
            what,
            f"{found.difference:+.3f}",
            f"{found.interval_95[0]:+.3f} to {found.interval_95[1]:+.3f}" if found.interval_95 else None,
            found.images,
        )
        for each in differences
        for what, found in (
            ("AJI+", each.aji_plus),
            ("F1", each.f1),
            ("AUROC", each.auroc),
            ("AUROC, true boxes", each.auroc_true_boxes),
        )
        if found is not None
    ]
    columns = ("models", "figure", "difference", "95 % interval", "images")
    stdout().print(table("paired differences on the same images", columns, rows, right=columns[2:]))


def show_simulated_certainty(found: Mapping[str, SimulatedCertainty]) -> None:
    """Ladders and pairs, a table for each model."""
    for name, figures in found.items():
        rows: list[tuple[str, object]] = []
        for what, ladder in (("blur", figures.blur), ("noise", figures.noise)):
            levels = " ".join(f"{value:.2f}" for value in ladder.confidence)
            rows += [
                (f"{what}: mean confidence by level", levels),
                (f"{what}: Spearman of the means", ladder.spearman),
                (f"{what}: Spearman pooled over scenes", ladder.spearman_pooled),
                (f"{what}: Spearman of a scene, mean", ladder.spearman_mean),
                (f"{what}: Spearman of a scene, worst", ladder.spearman_worst),
            ]
        for kind, pair in figures.pairs.items():
            interval = pair.auroc_interval_95
            ends = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
            value = None if pair.auroc is None else f"{pair.auroc:.3f}{ends}, n {pair.particles}"
            rows.append((f"equal geometry, {kind}: AUROC", value))
        title = f"{name}: {len(figures.seeds)} scenes of simulator {figures.simulator_version}"
        stdout().print(table(title, ("figure", "value"), rows))


def _columns(title: str, names: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> Table:
    headings = list(names) if len(names) > 1 else ["value"]
    return table(title, ("figure", *headings), [(name, *cells) for name, cells in rows])


def _fits(one: Table) -> bool:
    from rich.measure import Measurement

    console = stdout()
    return Measurement.get(console, console.options.update(max_width=10_000), one).maximum <= console.width


def _title(report: EvaluationReport) -> str:
    versions = ", ".join(report.simulator_versions)
    part = report.part or "all"
    return f"part {part}" + (f", simulator {versions}" if versions else "")
