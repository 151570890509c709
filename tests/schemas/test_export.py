"""JSON Schemas for the other side."""

from __future__ import annotations

import json
from pathlib import Path

from schemas.export import export_schemas
from schemas.registry import EVENTS, OTHERS

GOLDEN = Path(__file__).parent / "golden"


def test_one_file_for_each_schema_id(tmp_path):
    written = export_schemas(tmp_path / "new" / "folder")
    assert [path.name for path in written] == sorted(
        f"{name.replace('/', '.')}.json" for name in {**EVENTS, **OTHERS}
    )
    for path in written:
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document["$id"] == f"urn:{path.stem.rpartition('.')[0]}:1"
        assert document["type"] == "object"
        assert '"additionalProperties": false' not in json.dumps(document)


def test_the_schema_requires_what_a_message_has(tmp_path):
    export_schemas(tmp_path)
    envelope = json.loads((tmp_path / "labsem.envelope.1.json").read_text(encoding="utf-8"))
    assert set(envelope["required"]) == {"schema", "stream", "epoch", "sequence", "event_id", "sent_at"}
    for path in GOLDEN.glob("*.json"):
        schema = json.loads((tmp_path / path.name).read_text(encoding="utf-8"))
        message = json.loads(path.read_bytes())
        assert set(schema.get("required", ())) <= set(message)
        assert set(message) <= set(schema["properties"])


def test_a_second_export_changes_nothing(tmp_path):
    first = {path: path.read_bytes() for path in export_schemas(tmp_path)}
    assert {path: path.read_bytes() for path in export_schemas(tmp_path)} == first
