"""Drivers are found by name, built in or from other packages."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from drivers import BrokenDriverError, UnknownDriverError, available_drivers, discovery, load_driver


@pytest.fixture
def installed(monkeypatch):
    """Entry points as other packages would bring them."""

    def install(**targets: str) -> None:
        found = [EntryPoint(name, target, discovery.GROUP) for name, target in targets.items()]
        monkeypatch.setattr(
            discovery, "entry_points", lambda group: found if group == discovery.GROUP else []
        )

    return install


def test_the_virtual_microscope_needs_no_installed_metadata(installed):
    installed()
    assert available_drivers()["virtual"].problem is None
    assert load_driver("virtual", {"seed": 3, "latency": 0.0}).capabilities().can_act


def test_an_unknown_name_is_refused_with_the_names_that_are_there(installed):
    installed(other="drivers.virtual:VirtualMicroscope")
    with pytest.raises(UnknownDriverError, match="there are folder, other, phenom, virtual"):
        load_driver("phenom-9000")


def test_another_packages_driver_is_loaded(installed):
    installed(other="drivers.virtual:VirtualMicroscope")
    assert load_driver("other").name == load_driver("virtual").name


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nowhere.at_all:X", "nowhere"),
        ("drivers.virtual:Missing", "Missing"),
        ("drivers.virtual:DISPLAY_WIDTH_UM", "no class"),
    ],
)
def test_a_broken_driver_is_listed_with_its_problem_and_hides_no_other(installed, target, why):
    installed(broken=target)
    found = available_drivers()
    assert why in found["broken"].problem
    assert found["virtual"].problem is None
    with pytest.raises(BrokenDriverError, match=why):
        load_driver("broken")


@pytest.mark.parametrize("options", [{"colour": "red"}, {"latency": -1.0}])
def test_options_that_a_driver_refuses_are_named(options):
    with pytest.raises(BrokenDriverError, match=next(iter(options))):
        load_driver("virtual", options)


def test_importing_drivers_imports_neither_torch_nor_a_driver():
    program = (
        "import drivers, sys; assert 'drivers.virtual' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).resolve().parents[2])
