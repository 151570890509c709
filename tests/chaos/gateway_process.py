"""A gateway as a process of its own, for tests that kill it: ``python gateway_process.py SETTINGS.json``."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from schemas.settings import Settings
from services.gateway import run_gateway
from services.logs import configure_logging


def told() -> None:
    """Say on stdout that it is ready."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


if __name__ == "__main__":
    settings = Settings.model_validate_json(Path(sys.argv[1]).read_bytes())
    configure_logging(settings)
    run_gateway(settings, threading.Event(), started=told)
