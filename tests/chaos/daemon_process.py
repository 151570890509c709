"""A daemon as a process of its own, for tests that kill it: ``python daemon_process.py SETTINGS.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from schemas.settings import Settings
from services.daemon import DaemonReady, serve
from services.logs import configure_logging


def told(ready: DaemonReady) -> None:
    """Say so on stdout, with the workers' process ids."""
    sys.stdout.write(json.dumps(ready.worker_pids()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    settings = Settings.model_validate_json(Path(sys.argv[1]).read_bytes())
    configure_logging(settings)
    raise SystemExit(serve(settings, ready=told, segmenter="otsu"))
