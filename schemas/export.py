"""JSON Schemas of all that crosses a boundary, for those who write the other side in another language."""

from __future__ import annotations

import json
from pathlib import Path

from schemas.registry import EVENTS, OTHERS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def export_schemas(folder: Path) -> list[Path]:
    """Write one JSON Schema for each schema id, as it is on the wire.

    ``labsem.image-acquired/1`` becomes ``labsem.image-acquired.1.json``.

    Parameters
    ----------
    folder : Path
        Made where missing; files of the same names are replaced.

    Returns
    -------
    list of Path
        The files, by name.

    Raises
    ------
    OSError
        Where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for schema_id, model in sorted({**EVENTS, **OTHERS}.items()):
        # Readers ignore fields of a later minor version, so the schema must not forbid them.
        schema = _opened(model.model_json_schema(by_alias=True, mode="serialization"))
        document = {"$schema": DIALECT, "$id": f"urn:{schema_id.replace('/', ':')}", **schema}
        path = folder / f"{schema_id.replace('/', '.')}.json"
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        written.append(path)
    return written


def _opened(schema: dict[str, object]) -> dict[str, object]:
    opened: dict[str, object] = {}
    for name, value in schema.items():
        if name == "additionalProperties" and value is False:
            continue
        if isinstance(value, dict):
            opened[name] = _opened(value)
        elif isinstance(value, list):
            opened[name] = [_opened(item) if isinstance(item, dict) else item for item in value]
        else:
            opened[name] = value
    return opened
