"""``labsem models``."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.options import FolderOption, Json
from services.cli.output import FAILED, fail, print_json, show, stdout, table
from services.cli.setup import settings

models = typer.Typer(no_args_is_help=True, help="The networks that are installed.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(models, name="models")


@models.command("list")
def models_list(folder: FolderOption = None, as_json: Json = False) -> None:
    """List the networks."""
    from labsem.networks.manifest import list_manifests

    manifests = list_manifests(folder or settings().models.folder)
    if as_json:
        print_json(
            [
                manifest.reference().model_dump() | {"regimes": list(manifest.regimes)}
                for manifest in manifests
            ]
        )
        return
    columns = ("name", "version", "regimes", "made", "size MiB", "sha256")
    rows = [
        (
            manifest.name,
            manifest.version,
            [regime.value for regime in manifest.regimes],
            manifest.created_at.strftime("%Y-%m-%d"),
            manifest.size_bytes / 2**20,
            manifest.sha256[:12],
        )
        for manifest in manifests
    ]
    stdout().print(table("Models", columns, rows, right=("size MiB",)))


@models.command("show")
def models_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")],
    folder: FolderOption = None,
) -> None:
    """Print a model's manifest (JSON): data, options, measured figures, limits, licence."""
    from labsem.networks.manifest import list_manifests

    manifests = {manifest.name: manifest for manifest in list_manifests(folder or settings().models.folder)}
    if name not in manifests:
        fail(f"no model is called {name!r}; there are {', '.join(manifests)}")
    print_json(manifests[name])


@models.command("verify")
def models_verify(folder: FolderOption = None, as_json: Json = False) -> None:
    """Check the weights against their manifests' SHA-256."""
    from labsem.networks.manifest import WeightsError, list_manifests, verify

    where = folder or settings().models.folder
    found = []
    for manifest in list_manifests(where):
        try:
            verify(manifest, where)
            problem = None
        except WeightsError as error:
            problem = str(error)
        found.append({"name": manifest.name, "version": manifest.version, "problem": problem})
    if as_json:
        print_json(found)
    else:
        for item in found:
            show(f"{item['name']} {item['version']}: {item['problem'] or 'ok'}")
    if any(item["problem"] for item in found):
        raise typer.Exit(FAILED)
