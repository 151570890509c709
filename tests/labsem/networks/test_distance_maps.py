from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage

from labsem.networks.distance_maps import distance_maps

SIDE = 40


@st.composite
def discs(draw: st.DrawFn) -> NDArray[np.int32]:
    """Up to five discs, of which later ones lie over earlier ones."""
    labels = np.zeros((SIDE, SIDE + 8), np.int32)
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]]
    for label in range(1, draw(st.integers(0, 5)) + 1):
        at_y, at_x = draw(st.integers(-3, SIDE)), draw(st.integers(-3, SIDE))
        labels[(y - at_y) ** 2 + (x - at_x) ** 2 <= draw(st.integers(1, 12)) ** 2] = label
    return labels


noise = arrays(
    np.int32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), elements=st.integers(0, 4)
)


@settings(max_examples=60, deadline=None)
@given(st.one_of(discs(), noise))
def test_maps_lie_between_0_and_1_and_each_particle_reaches_1(labels: NDArray[np.int32]) -> None:
    cell, neighbour = distance_maps(labels)
    assert cell.shape == neighbour.shape == labels.shape
    for found in (cell, neighbour):
        assert found.dtype == np.float32
        assert found.min() >= 0
        assert found.max() <= 1
    np.testing.assert_array_equal(cell > 0, labels > 0)
    for label in np.unique(labels[labels > 0]):
        assert cell[labels == label].max() == 1


@settings(max_examples=30, deadline=None)
@given(discs(), st.permutations(range(1, 6)))
def test_names_and_orientation_of_particles_do_not_matter(
    labels: NDArray[np.int32], names: list[int]
) -> None:
    renamed = np.array([0, *(7 * name for name in names)], np.int32)[labels]
    maps = distance_maps(labels)
    np.testing.assert_array_equal(distance_maps(renamed), maps)
    turned = np.rot90(labels)
    np.testing.assert_allclose(distance_maps(turned), np.rot90(maps, axes=(1, 2)), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(discs())
def test_the_cell_map_is_the_distance_transform_of_each_particle(labels: NDArray[np.int32]) -> None:
    cell = distance_maps(labels)[0]
    for label in np.unique(labels[labels > 0]):
        inside = labels == label
        if inside.all():
            continue
        depth = ndimage.distance_transform_edt(inside)
        # One transform for all particles measures from outermost pixels, up to half a pixel off.
        np.testing.assert_allclose(cell[inside], (depth / depth.max())[inside], atol=0.6 / depth.max())


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(13, 26))
def test_a_particle_alone_has_no_neighbour(radius: int, at: int) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = ((y - at) ** 2 + (x - at) ** 2 <= radius**2).astype(np.int32)
    assert distance_maps(labels)[1].max() == 0


def test_the_neighbour_map_marks_where_particles_meet() -> None:
    labels = np.zeros((20, 60), np.int32)
    labels[2:18, 2:18], labels[2:18, 18:34], labels[2:18, 38:58] = 1, 2, 3
    neighbour = distance_maps(labels)[1]
    middle = neighbour[10]
    assert middle[17] == middle[18] == 1, "touching"
    assert middle[36] > 0.9, "a gap of 4 px"
    assert middle[5] == 0, "far from the neighbour"
    assert middle[50] == 0, "far from the neighbour"
    assert (np.diff(middle[8:18]) >= 0).all(), "rises towards the neighbour"
