"""A gateway from settings, for the command line and the demonstration."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from drivers import load_driver
from schemas.settings import Settings
from services.gateway.gateway import Gateway
from services.gateway.plan import AcquisitionPlan

log = structlog.get_logger(__name__)


def run_gateway(
    settings: Settings,
    stop: threading.Event,
    *,
    driver: str | None = None,
    plan: AcquisitionPlan | None = None,
    seed: int | None = None,
    started: Callable[[], None] | None = None,
) -> None:
    """Run the gateway of ``settings.instrument`` until ``stop`` is set.

    Parameters
    ----------
    driver
        Its name; by default ``settings.instrument.driver``.
    plan
        Frames that it acquires by itself; it then goes on answering rescans.
    seed
        Of the virtual microscope.
    started
        Called once it is ready: sockets bound, microscope asked to connect, status journalled.

    Raises
    ------
    MicroscopeError
        Where the driver is unknown or broken, or the microscope cannot be connected.
    StoreError, StreamError
        Where its journal cannot be opened, or an address cannot be bound.
    """
    options = dict(settings.instrument.options)
    if seed is not None:
        options["seed"] = seed
    microscope = load_driver(driver or settings.instrument.driver, options)
    Gateway(settings, microscope, plan).run(stop, started)
