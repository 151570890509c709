"""Settings: a TOML file and the environment, errors that name the file, and what is shown of them."""

from __future__ import annotations

import json
import os

import pytest

from schemas.settings import Settings, SettingsError, load_settings, redacted_url, shown


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Write a settings file and have it read; no variable of the tester's own enters."""
    for name in [name for name in os.environ if name.startswith("LABSEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LABSEM_DATA_DIR", str(tmp_path))

    def write(text: str | bytes):
        path = tmp_path / "my.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        monkeypatch.setenv("LABSEM_CONFIG", str(path))
        return path

    return write


def test_defaults_need_no_file(configured, tmp_path):
    settings = load_settings()
    assert settings.data_dir == tmp_path
    assert settings.url == f"sqlite:///{(tmp_path / 'labsem.sqlite').as_posix()}"
    assert settings.daemon.settle_after_s == 60


def test_the_file_of_the_data_folder_is_read(configured, tmp_path):
    (tmp_path / "labsem.toml").write_text("[daemon]\nworkers = 3\n")
    assert load_settings().daemon.workers == 3


def test_argument_over_environment_over_file(configured, monkeypatch):
    configured('log_level = "debug"\n[daemon]\nworkers = 3\nlease_s = 30\n[image_roots]\nlab = "/data/lab"\n')
    assert load_settings().daemon.workers == 3
    monkeypatch.setenv("LABSEM_DAEMON__WORKERS", "4")
    settings = load_settings()
    assert (settings.daemon.workers, settings.daemon.lease_s, settings.log_level) == (4, 30, "debug")
    assert settings.image_roots["lab"].name == "lab"
    assert load_settings(log_level="error").log_level == "error"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[daemon]\nwrokers = 3\n", "daemon.wrokers is no setting of this version; remove it or correct"),
        ("colour = 1\n", "colour is no setting"),
        ("[daemon]\nworkers = 0\n", "daemon.workers: input should be greater than or equal to 1"),
        ("[daemon]\nworkers = \n", "is not TOML.*line 2"),
        (b"name = '\xff'\n", "is not TOML"),
        (
            '[daemon]\nevents = "tcp://0.0.0.0:5610"\n',
            "daemon.events must be tcp://127.0.0.1:PORT.*SSH tunnel",
        ),
        ('[daemon]\nevents = "ipc:///tmp/x"\n', "daemon.events must be"),
        ('[[sources]]\nname = "a"\nevents = "tcp://10.0.0.1:1"\n', "sources.0.events must be"),
        (
            '[[sources]]\nname = "a"\nevents = "tcp://127.0.0.1:1"\n',
            "'a': give its requests endpoint, or plain",
        ),
        (
            '[[sources]]\nname = "a"\nevents = "tcp://127.0.0.1:1"\nrequests = "tcp://127.0.0.1:2"\nbind = true\n',
            "bind is for plain",
        ),
        (
            '[[sources]]\nname = "a"\nplain = true\nevents = "tcp://127.0.0.1:1"\n' * 2,
            "a name of its own",
        ),
        ('[image_roots]\n"a/b" = "x"\n', "image_roots"),
    ],
    ids=lambda value: None if not isinstance(value, str) or "\n" in value else value[:20],
)
def test_an_error_names_file_field_and_remedy(configured, text, complaint):
    path = configured(text)
    with pytest.raises(SettingsError, match=complaint) as caught:
        load_settings()
    assert str(path) in str(caught.value)


def test_an_error_shows_no_value(configured):
    configured('database_url = 5\n[instrument.options]\npassword = ["geheim"]\n')
    with pytest.raises(SettingsError, match=r"instrument\.options\.password") as caught:
        load_settings()
    assert "geheim" not in str(caught.value)


def test_a_bad_variable_is_named(configured, monkeypatch):
    monkeypatch.setenv("LABSEM_SOURCES", "not json")
    with pytest.raises(SettingsError, match="sources"):
        load_settings()


def test_a_named_file_must_exist(configured, monkeypatch, tmp_path):
    monkeypatch.setenv("LABSEM_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(SettingsError, match=r"none\.toml, which does not exist; create it or unset it"):
        load_settings()


def test_passwords_are_not_shown(configured):
    configured(
        'database_url = "postgresql+psycopg://lab:geheim@db:5432/labsem"\n'
        '[instrument.options]\nhost = "10.0.0.5"\napi_token = "geheim"\n'
    )
    settings = load_settings()
    assert "geheim" in settings.url
    seen = shown(settings)
    assert "geheim" not in json.dumps(seen)
    assert seen["database_url"] == "postgresql+psycopg://lab:***@db:5432/labsem"
    assert seen["instrument"]["options"] == {"host": "10.0.0.5", "api_token": "***"}


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("postgresql://u:p@ss:w@h/db", "postgresql://u:***@h/db"),
        ("postgresql:///db?host=/run&password=p", "postgresql:///db?host=/run&password=***"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("sqlite:////data/labsem.sqlite", "sqlite:////data/labsem.sqlite"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///C:/data/labsem.sqlite", "sqlite:///C:/data/labsem.sqlite"),
    ],
)
def test_a_url_is_redacted_and_else_left_alone(url, redacted):
    assert redacted_url(url) == redacted


def test_settings_are_frozen(configured):
    with pytest.raises(ValueError, match="frozen"):
        load_settings().log_level = "debug"
    assert Settings().log_level == "info"
