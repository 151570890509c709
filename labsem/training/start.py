"""Starting a training from weights of another one."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from labsem.networks.evidence import PREFIX as EVIDENCE_PREFIX
from labsem.networks.manifest import WeightsError, load_weights, read_manifest
from labsem.networks.novelty import PREFIX as NOVELTY_PREFIX
from labsem.networks.trainable import TrainableNetwork
from schemas.morphology import Regime

CONFIDENCE_LAYER = ("roi_heads.box_predictor.confidence.weight", "roi_heads.box_predictor.confidence.bias")


def load_start(network: TrainableNetwork, path: Path, regime: Regime) -> None:
    """Load weights (``NAME.safetensors`` or a checkpoint) into a network that is to be trained for a regime.

    With another number of confidence bins the uncertainty head's layer alone starts anew.

    Raises
    ------
    WeightsError
        Where the file cannot be read, is of another architecture, or serves another regime only.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; give NAME.safetensors or a checkpoint to start from")
    beside = path.with_suffix(".json")
    if path.suffix == ".safetensors" and beside.is_file():
        serves = read_manifest(beside).regimes
        if Regime.JOINT not in serves and regime not in serves:
            raise WeightsError(
                f"{path} serves only {', '.join(each.value for each in serves)}, which is no start for "
                f"{regime.value}; start from joint weights"
            )
    tensors = network_tensors(path)
    wanted = network.state_dict()
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    for name in CONFIDENCE_LAYER:
        if name in wanted and name in tensors and wanted[name].shape != tensors[name].shape:
            tensors[name] = wanted[name]  # another number of bins: this one layer is learned anew
    other = sorted(
        name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape
    )
    if missing or unknown or other:
        found = "; ".join(
            f"{len(names)} {what}, the first {names[0]}"
            for what, names in (("missing", missing), ("not known", unknown), ("of another shape", other))
            if names
        )
        raise WeightsError(
            f"{path} does not fit the architecture that is to be trained ({found}); start from weights of the same "
            "--architecture"
        )
    network.load_state_dict(tensors)


def network_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of the network itself, without what lies beside it in a weight file.

    Raises
    ------
    WeightsError
        Where the file cannot be read.
    """
    beside = (EVIDENCE_PREFIX, NOVELTY_PREFIX)
    return {name: tensor for name, tensor in load_weights(path).items() if not name.startswith(beside)}
