"""Logging of every process: structlog, key-value events, for the console or as JSON lines, always on stderr."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from schemas.settings import Settings


def configure_logging(
    settings: Settings | None = None,
    *,
    level: str = "info",
    json: bool = False,
    stream: TextIO | None = None,
) -> None:
    """Configure structlog and the standard library's logging alike; once for each process.

    Parameters
    ----------
    settings : Settings or None
        ``log_level`` and ``log_json`` of it win over ``level`` and ``json``.
    level : str
        ``debug``, ``info``, ``warning`` or ``error``.
    json : bool
        One JSON object for each line instead of text for a person.
    stream : text stream or None
        Where to; stderr where None, so that stdout stays for data.
    """
    if settings is not None:
        level, json = settings.log_level, settings.log_json
    target = sys.stderr if stream is None else stream
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if json
        else [
            structlog.dev.ConsoleRenderer(
                colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("apscheduler", "alembic", "matplotlib", "PIL", "tifffile"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
