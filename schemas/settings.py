"""Settings: a TOML file and ``LABSEM_`` environment variables (the environment wins)."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

import platformdirs
import pydantic_settings
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from schemas.base import SourceId

CONFIG_VARIABLE = "LABSEM_CONFIG"


class SettingsError(ValueError):
    """Settings that cannot be used; the message names file, field and remedy."""


Endpoint = Annotated[str, StringConstraints(pattern=r"^tcp://(127\.0\.0\.1|localhost):[0-9]{1,5}$")]
"""``tcp://127.0.0.1:PORT``. Until keys exist only loopback is bound or connected to; join two hosts by a tunnel."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSettings(_Section):
    """A publisher that the daemon listens to."""

    name: SourceId
    events: Endpoint = Field(description="its PUB socket, to which the daemon connects")
    requests: Endpoint | None = Field(
        default=None, description="its ROUTER socket (replay); none for a plain source"
    )
    plain: bool = Field(default=False, description="publishes bare ImageAcquired payloads, best effort")
    bind: bool = Field(default=False, description="plain only: the daemon binds and the publisher connects")


class ModelSettings(_Section):
    """Which networks are used and how."""

    folder: Path | None = Field(default=None, description="weights and manifests; none: those of the package")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int | None = Field(default=None, ge=1, description="per inference worker; none: all cores")
    display_width_m: float = Field(default=0.5, gt=0, description="magnification = display width / HFW")
    magnification_split: float = Field(default=10_000, gt=0)


class ReadSettings(_Section):
    """Limits that a file must keep before it is decoded."""

    max_file_mib: float = Field(default=1024, gt=0)
    max_pixels: int = Field(default=120_000_000, gt=0)


class RegimeThresholds(_Section):
    """When a frame of one regime is not good enough."""

    uncertain_fraction: float = Field(
        ge=0, le=1, description="uncertain: the fraction's Wilson lower bound is over it"
    )
    focus_min: float = Field(ge=0, description="blurred: the focus measure is under it")
    signal_to_noise_min: float = Field(ge=0, description="noisy: the ratio is under it")
    charging_max: float = Field(default=0.1, ge=0, description="charged: streaks over contrast are over it")
    size_over_floor_min: float = Field(
        default=1.6, ge=0, description="too small: D50 is under so many detection floors"
    )
    specks_min: int = Field(default=150, ge=1, description="too small: at least so many specks, and")
    specks_share_min: float = Field(
        default=0.01, ge=0, le=1, description="they cover over this share of the ground"
    )
    size_share_max: float = Field(
        default=1 / 3, gt=0, le=1, description="near the field: D90 over the field width is over it"
    )
    particles_few: int = Field(default=10, ge=0, description="where fewer particles lie whole in the field")
    size_share_max_of_few: float = Field(
        default=0.2, gt=0, le=1, description="the largest over the field width may reach this"
    )
    area_coverage_max: float = Field(default=0.55, gt=0, le=1, description="crowded: particles cover more")
    solidity_min: float = Field(
        default=0.85, ge=0, le=1, description="agglomerated: the outlines' median solidity is under it"
    )
    particles_min: int = Field(default=1, ge=0, description="too few: fewer particles lie whole in the field")


class RescanSettings(_Section):
    """The rescan policy."""

    approval: Literal["auto", "ask", "off"] = "auto"
    low: RegimeThresholds = RegimeThresholds(uncertain_fraction=0.35, focus_min=0.5, signal_to_noise_min=4.0)
    high: RegimeThresholds = RegimeThresholds(uncertain_fraction=0.6, focus_min=0.5, signal_to_noise_min=4.0)
    attempts_per_site: int = Field(default=2, ge=0)
    attempts_per_sample: int = Field(default=10, ge=0)
    attempts_per_hour: int = Field(default=30, ge=0)
    site_radius_fraction: float = Field(
        default=0.25, gt=0, description="of the HFW: nearer places are one site"
    )
    elsewhere_fields: float = Field(
        default=4, ge=1, description="how many field widths away another place lies"
    )
    longest_scan_s: float = Field(
        default=120, gt=0, description="no frame is asked for that is scanned for longer"
    )
    cool_down_s: float = Field(
        default=60, ge=0, description="an instrument that failed a rescan is asked for none within"
    )
    expires_after_s: float = Field(default=1800, gt=0, description="requested or approved and not begun")
    running_for_s: float = Field(default=300, gt=0, description="claimed and no frame")
    analysis_within_s: float = Field(default=900, gt=0, description="acquired and not analysed")


class DaemonSettings(_Section):
    """The analysis daemon."""

    stream: SourceId = "analysis.default"
    events: Endpoint = "tcp://127.0.0.1:5610"
    requests: Endpoint = "tcp://127.0.0.1:5611"
    workers: int = Field(default=1, ge=1, le=64)
    lease_s: float = Field(default=120, gt=1)
    settle_after_s: float = Field(default=60, ge=0)
    journal_days: float = Field(default=90, ge=1)
    analysis_timeout_s: float = Field(
        default=600, gt=0, description="then the worker is replaced, the frame kept"
    )


class InstrumentSettings(_Section):
    """One instrument's gateway."""

    instrument_id: SourceId = "virtual-1"
    driver: str = "virtual"
    image_root: SourceId = "virtual-1"
    events: Endpoint = "tcp://127.0.0.1:5620"
    requests: Endpoint = "tcp://127.0.0.1:5621"
    daemon_events: Endpoint = "tcp://127.0.0.1:5610"
    daemon_requests: Endpoint = "tcp://127.0.0.1:5611"
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="given to the driver"
    )
    scale_relative_uncertainty: float = Field(default=0.03, ge=0)


class Settings(BaseSettings):
    """All settings of one host.

    ``LABSEM_CONFIG`` names the TOML file (default: ``labsem.toml`` in ``data_dir`` where it exists).
    Nested fields are reached by two underscores, ``LABSEM_DAEMON__WORKERS=2``.
    """

    model_config = SettingsConfigDict(
        env_prefix="LABSEM_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("labsem", appauthor=False))
    )
    database_url: str | None = Field(default=None, description="none: SQLite in data_dir")
    image_roots: dict[SourceId, Path] = Field(
        default_factory=dict, description="root's name -> folder on this host"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = False
    sources: tuple[SourceSettings, ...] = ()
    models: ModelSettings = ModelSettings()
    reading: ReadSettings = ReadSettings()
    rescans: RescanSettings = RescanSettings()
    daemon: DaemonSettings = DaemonSettings()
    instrument: InstrumentSettings = InstrumentSettings()

    @field_validator("sources")
    @classmethod
    def _sources_fit(cls, value: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        names = [source.name for source in value]
        if len(set(names)) != len(names):
            raise ValueError("each source needs a name of its own")
        for source in value:
            if source.bind and not source.plain:
                raise ValueError(f"source {source.name!r}: bind is for plain sources only")
            if not source.plain and source.requests is None:
                raise ValueError(f"source {source.name!r}: give its requests endpoint, or plain = true")
        return value

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'labsem.sqlite').as_posix()}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the TOML file."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, toml


def config_file() -> Path | None:
    """The TOML file that is read: ``LABSEM_CONFIG``, else ``labsem.toml`` in the data folder where it exists.

    Raises
    ------
    SettingsError
        Where ``LABSEM_CONFIG`` names a file that does not exist.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        path = Path(named)
        if not path.is_file():
            raise SettingsError(
                f"{CONFIG_VARIABLE} names {path}, which does not exist; create it or unset it"
            )
        return path
    data_dir = os.environ.get("LABSEM_DATA_DIR") or platformdirs.user_data_dir("labsem", appauthor=False)
    default = Path(data_dir) / "labsem.toml"
    return default if default.is_file() else None


def load_settings(**overrides: Any) -> Settings:
    """Read the settings file and the environment; ``overrides`` win over both.

    Raises
    ------
    SettingsError
        Where they cannot be used; the message names file, field and remedy.
    """
    path = config_file()
    origin = f"settings ({path or 'no file'}, and {_PREFIX}… variables)"
    try:
        return Settings(**overrides)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}; correct that line") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}; check its permissions") from None
    except pydantic_settings.SettingsError as error:
        raise SettingsError(f"{origin}: {error}; give a nested value as JSON or as {_PREFIX}A__B") from None
    except ValidationError as error:
        # Values are left out: one of them may be a password.
        problems = "; ".join(_problem(item["loc"], item["type"], item["msg"]) for item in error.errors())
        raise SettingsError(f"{origin}: {problems}") from None


def shown(settings: Settings) -> dict[str, Any]:
    """The settings as JSON types, for a person to see: passwords are replaced by ``***``."""
    dump = settings.model_dump(mode="json")
    if settings.database_url is not None:
        dump["database_url"] = redacted_url(settings.database_url)
    dump["instrument"]["options"] = _redacted_options(settings.instrument.options)
    return dump


def redacted_url(url: str) -> str:
    """A database's URL with its passwords replaced by ``***``."""
    parts = urlsplit(url)
    account, at, host = parts.netloc.rpartition("@")
    user, colon, _ = account.partition(":")
    netloc = f"{user}:***{at}{host}" if colon else parts.netloc
    query = parts.query
    if any(_SECRET.search(name) for name, _ in parse_qsl(query)):
        pairs = [(name, "***" if _SECRET.search(name) else value) for name, value in parse_qsl(query)]
        query = urlencode(pairs, safe="*/:")
    # Not by urlunsplit, which takes slashes from sqlite:////path and postgresql:///name.
    return f"{parts.scheme}://{netloc}{parts.path}" + (f"?{query}" if query else "")


_PREFIX = "LABSEM_"
_SECRET = re.compile(r"password|secret|token|api_?key", re.IGNORECASE)
_ENDPOINTS = ("events", "requests", "daemon_events", "daemon_requests")


def _redacted_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "***" if _SECRET.search(name) else value for name, value in options.items()}


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    field = ".".join(map(str, location)) or "settings"
    if kind == "extra_forbidden":
        return f"{field} is no setting of this version; remove it or correct its name"
    if location and location[-1] in _ENDPOINTS and kind == "string_pattern_mismatch":
        return f"{field} must be tcp://127.0.0.1:PORT; other addresses are refused, join two hosts by an SSH tunnel"
    return f"{field}: {message[:1].lower()}{message[1:]}; correct it in the file or the environment"
