"""When an acquisition has reached its aim: looked at seldom enough that the interval stays one."""

from __future__ import annotations

import pytest

from labsem.morphology.looks import is_look
from schemas.morphology import SampleMorphology
from schemas.plans import Place, Plan
from services.daemon.plans import reached


def plan(**more) -> Plan:
    return Plan(places=(Place(x_mm=0, y_mm=0),), hfw_um=(80.0, 20.0), **more)


def sample(*blocks) -> SampleMorphology:
    return SampleMorphology.model_construct(blocks=tuple(blocks))


def block(hfw_um, particles, d50_um=None, interval=None):
    from types import SimpleNamespace

    found = SimpleNamespace(d50_um=d50_um, d50_interval_97_5_um=interval)
    sizes = SimpleNamespace(number=SimpleNamespace(all=found))
    return SimpleNamespace(hfw_um=hfw_um, particle_count=particles, sizes=sizes)


def test_looks_double():
    assert [n for n in range(1, 500) if is_look(n)] == [15, 30, 60, 120, 240, 480]
    assert not is_look(0)


def test_particles_of_all_fields_count():
    wanted = plan(until_particles=100)
    assert reached(wanted, 2, sample(block(80.0, 60), block(20.0, 39))) == ""
    assert "100 particles after 2 frames" in reached(wanted, 2, sample(block(80.0, 60), block(20.0, 40)))


@pytest.mark.parametrize(
    ("analysed", "interval", "ends"),
    [
        (15, (9.6, 10.4), True),
        (15, (9.6, 10.6), False),
        (15, (9.4, 10.4), False),
        (16, (9.9, 10.1), False),
        (30, (9.6, 10.4), True),
        (30, None, False),
    ],
)
def test_d50_ends_it_at_a_look_where_both_ends_are_near(analysed, interval, ends):
    wanted = plan(until_d50_within=0.05)
    told = reached(
        wanted, analysed, sample(block(20.0, 9, 1.0, (0.99, 1.01)), block(80.1, 9, 10.0, interval))
    )
    assert bool(told) is ends
    assert not ends or "within 4.0%" in told


def test_a_plan_without_an_aim_goes_to_its_end():
    assert reached(plan(), 15, sample(block(80.0, 10**6, 10.0, (9.99, 10.01)))) == ""
