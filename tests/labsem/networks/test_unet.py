from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labsem.evaluation.aji import aji_plus
from labsem.networks.distance_maps import distance_maps
from labsem.networks.manifest import Input, Watershed, WeightsError
from labsem.networks.segmenter import Segmenter
from labsem.networks.unet import UNet, UNetArchitecture
from labsem.networks.watershed import DistanceMaps, part_particles, parted_segmentation
from labsem.training.sampling import TrainingImage
from labsem.training.unet import publish_unet
from schemas.morphology import Regime

SMALL = UNetArchitecture(backbone="tf_efficientnet_lite2", decoder_channels=(16, 16, 8, 8, 8))


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return inside


def touching() -> NDArray[np.int32]:
    """Two touching discs and one by itself, (64, 96)."""
    labels = np.zeros((64, 96), np.int32)
    for label, (y, x, radius) in enumerate([(32, 20, 14), (32, 46, 13), (20, 78, 9)], start=1):
        labels[disc(labels.shape, y, x, radius) & (labels == 0)] = label
    return labels


def test_maps_are_as_large_as_the_frame() -> None:
    network = UNet(SMALL).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 1, 64, 96)).shape == (1, 2, 64, 96)


def test_its_losses_fall_on_one_image() -> None:
    torch.manual_seed(0)
    network = UNet(SMALL).train()
    labels = touching()
    image = torch.from_numpy(0.2 + 0.6 * (labels > 0)).float()[None, None]
    targets = [{"label_image": torch.from_numpy(labels)}]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    history = []
    for _ in range(12):
        losses = network.losses(image, targets)
        assert tuple(losses) == network.loss_names
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        history.append(float(total.detach()))
    assert history[-1] < 0.6 * history[0]


def test_the_watershed_parts_touching_discs() -> None:
    labels = touching()
    found = part_particles(*distance_maps(labels), Watershed())
    assert len(np.unique(found)) == 4
    assert aji_plus(labels, found) > 0.9
    as_one = part_particles(
        distance_maps((labels > 0).astype(np.int32))[0],
        np.zeros(labels.shape, np.float32),
        Watershed(seed=0.01),
    )
    assert len(np.unique(as_one)) == 3, "without a neighbour map and with a low seed the two stay one"


def test_small_particles_and_noise_go() -> None:
    labels = touching()
    labels[2:5, 2:5] = 4
    cell, neighbour = distance_maps(labels)
    assert len(np.unique(part_particles(cell, neighbour, Watershed(smoothing_px=0, area_min_px=9)))) == 5
    assert len(np.unique(part_particles(cell, neighbour, Watershed(smoothing_px=0, area_min_px=10)))) == 4
    assert len(np.unique(part_particles(cell, neighbour, Watershed(area_min_px=400)))) == 3
    assert not part_particles(np.zeros_like(cell), neighbour, Watershed()).any()


def test_objectness_is_the_highest_cell_distance_and_dark_ground_goes() -> None:
    labels = touching()
    cell, neighbour = distance_maps(labels)
    cell[labels == 3] *= 0.7
    grey = np.where(labels > 0, 0.8, 0.4).astype(np.float32)
    grey[labels == 3] = 0.1
    maps = DistanceMaps(grey, cell, neighbour)
    every = parted_segmentation(maps, Watershed())
    order = every.label_image[32, 20] - 1, every.label_image[32, 46] - 1, every.label_image[20, 78] - 1
    np.testing.assert_allclose(every.objectness[list(order)], [1, 1, 0.7], atol=1e-6)
    assert every.certain.all()
    bright = parted_segmentation(maps, Watershed(contrast=0.0))
    assert len(bright) == 2
    assert bright.label_image[20, 78] == 0


def _image(name: str, scale: float) -> TrainingImage:
    labels = touching()
    grey = np.where(labels > 0, 180 * scale, 60 * scale).astype(np.uint8)
    return TrainingImage(id=name, grey=grey, labels=labels, uncertain=None)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("unet")
    network = UNet(SMALL)
    torch.save({"average": network.state_dict()}, folder / "checkpoint.pt")
    images = [_image("a", 1.0), _image("b", 1.2)]
    publish_unet(
        folder / "checkpoint.pt",
        folder,
        name="unet",
        version="0",
        architecture=SMALL,
        validation=dict.fromkeys(Regime, images),
        provenance={"steps": 0},
        inputs=(Input(long_side_max_px=96, long_side_min_px=64),),
    )
    return folder


def test_a_published_unet_is_loaded_and_segments(published: Path) -> None:
    segmenter = Segmenter.load(published)
    manifest = segmenter.manifest(Regime.LOW)
    assert manifest.objectness == "highest cell distance"
    assert manifest.architecture["kind"] == "unet"
    found = segmenter.segment(_image("c", 1.1).grey, Regime.LOW)
    assert (found.height_px, found.width_px) == (64, 96)
    assert (found.confidence == 1).all()
    assert not found.out_of_distribution
    trust = segmenter.trust_at(_image("c", 1.1).grey, np.array([[0, 0, 9, 9]]), Regime.LOW)
    assert trust.confidence.tolist() == [1.0]


def test_larger_frames_are_reduced_and_their_maps_enlarged(published: Path) -> None:
    frame = np.kron(_image("d", 1.0).grey, np.ones((2, 2), np.uint8))
    found = Segmenter.load(published).segment(frame, Regime.JOINT)
    assert found.label_image.shape == (128, 192)


def test_a_unet_without_validation_images_is_refused(published: Path) -> None:
    with pytest.raises(ValueError, match="high"):
        publish_unet(
            published / "checkpoint.pt",
            published,
            name="other",
            version="0",
            architecture=SMALL,
            validation={Regime.HIGH: []},
            provenance={},
        )


def test_tampered_weights_are_refused(published: Path, tmp_path: Path) -> None:
    (tmp_path / "unet.json").write_bytes((published / "unet.json").read_bytes())
    weights = bytearray((published / "unet.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "unet.safetensors").write_bytes(weights)
    with pytest.raises(WeightsError, match=r"unet\.safetensors"):
        Segmenter.load(tmp_path)
