"""``labsem doctor``: what works on this host, what does not, and what to do about it."""

from __future__ import annotations

import platform
import shutil
import socket
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from drivers import available_drivers
from labsem import __version__
from labsem.client import Labsem, StreamError
from labsem.networks.manifest import WeightsError, list_manifests, verify
from labsem.store import Store, StoreError, check, cursors, inbox, instruments, queries
from labsem.streams import RequestClient
from labsem.streams.clock import SKEW_LIMIT_S, clock_skew_s
from schemas.base import Schema, utc_now
from schemas.requests import Ping, Pong
from schemas.settings import Settings, SourceSettings, config_file, redacted_url
from services.segmenters import available_segmenters

DISK_WARNING_BYTES = 5 * 2**30
SHOWN = 20
_LIBRARIES = ("numpy", "pydantic", "sqlalchemy", "pyzmq", "torch", "torchvision", "timm")


class Finding(Schema):
    """One thing that was looked at."""

    area: str
    what: str
    state: Literal["ok", "warning", "failed"]
    detail: str = ""
    remedy: str = ""


class Diagnosis(Schema):
    """All findings; ``ok`` where none of them is ``failed``."""

    ok: bool
    findings: tuple[Finding, ...]


def examine(settings: Settings) -> Diagnosis:
    """Look at everything; nothing is changed, and nothing that fails ends it."""
    examinations: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _versions,
        _settings,
        _database,
        _folders,
        _models,
        _extensions,
        _services,
    )
    findings = tuple(finding for look in examinations for finding in look(settings))
    return Diagnosis(ok=all(finding.state != "failed" for finding in findings), findings=findings)


def _versions(settings: Settings) -> Iterator[Finding]:  # noqa: ARG001
    found = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} -")
    yield Finding(area="versions", what="labsem", state="ok", detail=__version__)
    yield Finding(
        area="versions",
        what="Python",
        state="ok",
        detail=f"{platform.python_version()}, {platform.system()} {platform.machine()}",
    )
    yield Finding(area="versions", what="libraries", state="ok", detail=", ".join(found))


def _settings(settings: Settings) -> Iterator[Finding]:
    path = config_file()
    yield Finding(area="settings", what="file", state="ok", detail=str(path) if path else "none; defaults")
    yield Finding(area="settings", what="data_dir", state="ok", detail=str(settings.data_dir))


def _database(settings: Settings) -> Iterator[Finding]:
    shown = redacted_url(settings.url)
    try:
        found = check(settings.url)
        if not found.ok:
            yield Finding(
                area="database", what=shown, state="failed", detail=found.message, remedy="labsem db upgrade"
            )
            return
        yield Finding(area="database", what=shown, state="ok", detail=f"reachable, version {found.revision}")
        with Store.open(settings.url, upgrade="never") as store, store.read() as session:
            yield from _records(session)
    except StoreError as error:
        yield Finding(
            area="database",
            what=shown,
            state="failed",
            detail=str(error),
            remedy="labsem serve makes a SQLite database; for PostgreSQL check LABSEM_DATABASE_URL",
        )


def _records(session: Session) -> Iterator[Finding]:
    counts = inbox.counts(session)
    yield Finding(
        area="inbox",
        what="frames",
        state="ok",
        detail=f"{counts.done} done, {counts.waiting} waiting, {counts.leased} in work",
    )
    rejected = queries.rejected(session, limit=SHOWN)
    for row in rejected:
        yield Finding(
            area="rejected",
            what=f"item {row.rejected_id} from {row.source}" + (f": {row.path}" if row.path else ""),
            state="warning",
            detail=f"{row.code}: {row.message}",
            remedy=row.remedy + (f" (labsem frames retry {row.rejected_id})" if row.retryable else ""),
        )
    if not rejected:
        yield Finding(area="rejected", what="messages and frames", state="ok", detail="none")
    elif len(rejected) == SHOWN:
        yield Finding(
            area="rejected", what="more", state="warning", detail="labsem frames rejected shows all"
        )
    for cursor in cursors.all_cursors(session):
        yield Finding(
            area="sources",
            what=f"{cursor.stream} read by {cursor.reader}",
            state="ok",
            detail=f"up to {cursor.sequence} of epoch {cursor.epoch}",
        )
    for gap in cursors.gaps(session, limit=SHOWN):
        yield Finding(
            area="sources",
            what=f"{gap.stream} read by {gap.reader}",
            state="warning",
            detail=f"messages {gap.first} to {gap.last} never came ({gap.reason}, {gap.at:%Y-%m-%d %H:%M} UTC)",
            remedy="frames of that time may be missing: compare with the instrument's image folder",
        )
    for instrument in instruments.all_instruments(session):
        yield Finding(
            area="instruments",
            what=instrument.instrument_id,
            state="ok",
            detail=str(getattr(instrument, "state", "") or "no status yet"),
        )


def _folders(settings: Settings) -> Iterator[Finding]:
    from services.daemon import image_folder

    roots = dict.fromkeys((*settings.image_roots, settings.instrument.image_root))
    for name in roots:
        folder = image_folder(settings, name)
        known = folder is not None and folder.is_dir()
        configured = name in settings.image_roots
        yield Finding(
            area="image roots",
            what=name,
            state="failed" if configured and not known else "ok",
            detail=_where(folder, known=known),
            remedy=f"make the folder, mount the share, or correct image_roots.{name}"
            if configured and not known
            else "",
        )
    place = _existing(settings.data_dir)
    free = shutil.disk_usage(place).free
    yield Finding(
        area="disk",
        what=str(place),
        state="ok" if free >= DISK_WARNING_BYTES else "warning",
        detail=f"{free / 2**30:.1f} GiB free",
        remedy="" if free >= DISK_WARNING_BYTES else "free some space: a frame takes a few MiB",
    )


def _where(folder: Path | None, *, known: bool) -> str:
    if folder is None:
        return "no folder on this host: frames are fetched from their gateway"
    return str(folder) if known else f"{folder} does not exist"


def _models(settings: Settings) -> Iterator[Finding]:
    folder = settings.models.folder
    try:
        manifests = list_manifests(folder)
    except WeightsError as error:
        yield Finding(area="models", what=str(folder or "shipped"), state="failed", detail=str(error))
        return
    for manifest in manifests:
        name = f"{manifest.name} {manifest.version}"
        regimes = ", ".join(regime.value for regime in manifest.regimes)
        try:
            verify(manifest, folder)
        except WeightsError as error:
            yield Finding(area="models", what=name, state="failed", detail=str(error))
        else:
            yield Finding(
                area="models", what=name, state="ok", detail=f"{regimes}; SHA-256 as in its manifest"
            )


def _extensions(settings: Settings) -> Iterator[Finding]:  # noqa: ARG001
    for area, entries in (("drivers", available_drivers()), ("segmenters", available_segmenters())):
        for entry in entries.values():
            yield Finding(
                area=area,
                what=entry.name,
                state="ok" if entry.problem is None else "warning",
                detail=entry.problem or f"loads ({entry.target})",
                remedy="" if entry.problem is None else "needed only where it is used",
            )


def _services(settings: Settings) -> Iterator[Finding]:
    from services.daemon import sources_of

    ends = settings.daemon
    try:
        with Labsem(ends.events, ends.requests, timeout_s=1.0, attempts=1) as lab:
            status = lab.ping()
    except StreamError:
        yield Finding(
            area="services",
            what=f"analysis daemon at {ends.requests}",
            state="warning",
            detail="does not answer",
            remedy="start it with labsem serve" + _taken(ends.requests),
        )
    else:
        yield _answered("analysis daemon", ends.requests, status.version, status.clock_skew_s)
    for source in sources_of(settings):
        if source.plain or source.requests is None:
            yield Finding(
                area="services",
                what=f"{source.name} at {source.events}",
                state="ok",
                detail="a plain source; it answers no requests, so nothing is known of it",
            )
        else:
            yield _gateway(source, source.requests)


def _gateway(source: SourceSettings, requests: str) -> Finding:
    began = utc_now()
    try:
        pong = RequestClient(requests, timeout_s=1.0, attempts=1).ask(Ping(), Pong)
    except StreamError:
        return Finding(
            area="services",
            what=f"{source.name} at {requests}",
            state="warning",
            detail="does not answer",
            remedy="start it with labsem instrument on its host; on another host, check the tunnel"
            + _taken(requests),
        )
    return _answered(source.name, requests, pong.version, clock_skew_s(began, pong.clock, utc_now()))


def _answered(name: str, endpoint: str, its_version: str, skew_s: float) -> Finding:
    problems = []
    if abs(skew_s) > SKEW_LIMIT_S:
        problems.append("set both hosts' clocks by NTP")
    if its_version != __version__:
        problems.append(f"it runs labsem {its_version}, this is {__version__}")
    return Finding(
        area="services",
        what=f"{name} at {endpoint}",
        state="warning" if problems else "ok",
        detail=f"answers, labsem {its_version}, clock {skew_s:+.1f} s",
        remedy="; ".join(problems),
    )


def _taken(endpoint: str) -> str:
    """A hint where something else listens at an endpoint that does not answer."""
    parts = urlsplit(endpoint)
    with socket.socket() as probe:
        probe.settimeout(0.5)
        used = probe.connect_ex((parts.hostname or "127.0.0.1", parts.port or 0)) == 0
    return (
        "; something listens on that port, perhaps another program: set another in the settings"
        if used
        else ""
    )


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
