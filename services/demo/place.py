"""A fresh folder, free ports, and the settings that name them."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from schemas.settings import DaemonSettings, InstrumentSettings, RescanSettings, Settings, load_settings
from services.demo.errors import DemoError

INSTRUMENT = "virtual-1"


def fresh_settings(host: Settings) -> Settings:
    """Settings of a demonstration in a new folder of the host's data folder, on free ports; kept as labsem.toml.

    Models, limits and the virtual microscope's options are the host's.
    """
    folder = _new_folder(host.data_dir / "demo")
    events, requests, daemon_events, daemon_requests = _free_endpoints(4)
    settings = load_settings(
        data_dir=folder,
        database_url=f"sqlite:///{(folder / 'labsem.sqlite').as_posix()}",
        image_roots={INSTRUMENT: folder / "images"},
        sources=(),
        rescans=RescanSettings(),
        daemon=DaemonSettings(events=daemon_events, requests=daemon_requests, settle_after_s=1.0),
        instrument=InstrumentSettings(
            instrument_id=INSTRUMENT,
            image_root=INSTRUMENT,
            events=events,
            requests=requests,
            daemon_events=daemon_events,
            daemon_requests=daemon_requests,
            options=host.instrument.options if host.instrument.driver == "virtual" else {},
        ),
    )
    (folder / "labsem.toml").write_text(
        "# Settings of a demonstration: labsem --data-dir THIS_FOLDER history demo-1\n"
        f'[daemon]\nevents = "{daemon_events}"\nrequests = "{daemon_requests}"\n\n'
        f'[instrument]\nevents = "{events}"\nrequests = "{requests}"\n'
        f'daemon_events = "{daemon_events}"\ndaemon_requests = "{daemon_requests}"\n',
        encoding="utf-8",
    )
    return settings


def _new_folder(parent: Path) -> Path:
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        folder = parent / f"{stamp}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise DemoError(f"{folder} cannot be made ({error.strerror}); set LABSEM_DATA_DIR") from error
        (folder / "images").mkdir()
        return folder
    raise DemoError(f"{parent / stamp} and its numbered followers exist; wait a second and try again")


def _free_endpoints(count: int) -> list[str]:
    """Different free ports, all held until the last is known."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"tcp://127.0.0.1:{one.getsockname()[1]}" for one in sockets]
