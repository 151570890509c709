"""The rules of the house, each checked by its own tool."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("schemas", "labsem", "drivers", "services")
LINES = 400


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=["check", "format"])
def test_ruff(arguments):
    run(sys.executable, "-m", "ruff", *arguments, ".")


def test_mypy():
    run(sys.executable, "-m", "mypy")


def test_imports_run_one_way():
    run(sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")


def test_modules_are_short():
    long = {str(path): count for path in modules() if (count := len(path.read_text().splitlines())) > LINES}
    assert long == {}


def test_packages_are_typed_and_not_tests():
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)
    assert project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == list(PACKAGES)


def test_declared_entry_points_resolve():
    declared = project()["project"]
    targets = [*declared["scripts"].values()]
    for group in declared.get("entry-points", {}).values():
        targets += group.values()
    assert "services.cli.main:main" in targets
    for target in targets:
        module, _, name = target.partition(":")
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found)


def test_every_import_is_declared():
    """What the four packages import from outside is a dependency or an extra's."""
    declared = project()["project"]
    extras = [name for names in declared["optional-dependencies"].values() for name in names]
    known = {re.split(r"[\[<>=,]", name)[0].lower() for name in [*declared["dependencies"], *extras]}
    distributions = {"PIL": "pillow", "zmq": "pyzmq", "skimage": "scikit-image", "yaml": "pyyaml"}
    pattern = re.compile(r"^\s*(?:from|import) ([a-zA-Z_][a-zA-Z0-9_]*)", re.MULTILINE)
    code = {path: re.sub(r'"""[\s\S]*?"""', "", path.read_text()) for path in modules()}
    unknown = {
        (str(path.relative_to(ROOT)), name)
        for path, text in code.items()
        for name in pattern.findall(text)
        if name not in sys.stdlib_module_names
        and name not in PACKAGES
        and distributions.get(name, name).lower() not in known
        and distributions.get(name, name).replace("_", "-").lower() not in known
    }
    assert unknown == set()


def test_precommit_runs_local_hooks_only():
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"^\s*- repo: (.+)$", text, re.MULTILINE) == ["local"]
    assert set(re.findall(r"^\s*language: (.+)$", text, re.MULTILINE)) == {"system"}


def test_versions_agree():
    from labsem import __version__

    assert project()["project"]["version"] == __version__
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
