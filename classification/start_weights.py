"""Start weights of a classifier: torchvision's ImageNet weights, a file, or none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torchvision
from torch import Tensor

from mammodet.classification.classifier import FILE_FORMAT, FILE_REMEDY, Classifier
from mammodet.datasets.errors import InputError
from mammodet.networks.tensor_file import read_content, read_tensors, stated_format
from mammodet.networks.weight_files import download_state, read_torch_state

_log = logging.getLogger(__name__)

_BACKBONE = "backbone.body."


def load_start_weights(network: Classifier, weights: str, architecture: str) -> None:
    """Copy start weights into a network.

    Parameters
    ----------
    weights:
        ``none``, ``imagenet`` (torchvision's), or a file: a classifier of mammodet, the backbone of a
        detector of mammodet, a Lightning checkpoint of one of them, or a torch state dict of torchvision's
        network.
    architecture:
        torchvision's name of the body.

    The last layer is copied only from a classifier of mammodet with the same classes and as many features. A
    first convolution of three channels is summed for one channel, and one of one channel is divided over
    three: the network computes the same.

    Raises
    ------
    InputError
        When a download fails, a file cannot be read, or some tensor of the body is not in it or is of another
        shape.
    """
    if weights == "none":
        return
    if weights == "imagenet":
        published = torchvision.models.get_model_weights(architecture)["IMAGENET1K_V1"]
        _copy(network, download_state(published), weights)
        return
    path = Path(weights)
    state, classes = _read(path)
    _copy(network, state, weights, with_head=classes == network.classes)


def _read(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...] | None]:
    """Return tensors and, of a classifier of mammodet, its classes."""
    if not path.is_file():
        raise InputError("no such file", file=path, field="--weights", remedy="give imagenet, none or a file")
    if path.suffix == ".safetensors":
        if (stated_format(path, FILE_REMEDY) or "").startswith("mammodet.detector/"):
            return read_tensors(path), None
        config = read_content(path, FILE_FORMAT, FILE_REMEDY).get("config")
        classes = config.get("classes") if isinstance(config, Mapping) else None
        return read_tensors(path), tuple(classes) if isinstance(classes, list) else None
    return read_torch_state(path), None


def _copy(network: Classifier, state: Mapping[str, Tensor], source: str, with_head: bool = False) -> None:
    """Copy the body, all of it, since half a body is none, and if wanted a last layer that fits."""
    if any(key.startswith(_BACKBONE) for key in state):  # torchvision's detectors
        state = {f"body.{key.removeprefix(_BACKBONE)}": one for key, one in state.items() if _BACKBONE in key}
    if not any(key.startswith("body.") for key in state):
        state = {f"body.{key}": tensor for key, tensor in state.items()}
    own = network.state_dict()
    wanted = [key for key in own if with_head or key.startswith("body.")]
    fitting = {}
    for key in wanted:
        tensor = state.get(key)
        if tensor is not None:
            tensor = _with_channels(tensor, own[key])
        if tensor is not None and tensor.shape == own[key].shape:
            fitting[key] = tensor
        elif key.startswith("body.") and not key.endswith("num_batches_tracked"):  # old files have none
            found = "nothing" if tensor is None else f"shape {tuple(tensor.shape)}"
            raise InputError(
                f"does not fit the network: {key} must be of shape {tuple(own[key].shape)}, there is {found}",
                field="--weights",
                value=source,
                remedy="give weights of the same architecture",
            )
    network.load_state_dict(fitting, strict=False)
    _log.info(
        "weights %s: %d tensors loaded, %d left as initialised", source, len(fitting), len(own) - len(fitting)
    )


def _with_channels(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a first convolution for as many grey channels as ``like`` has; others as they are."""
    if tensor.ndim != 4 or tensor.shape[0] != like.shape[0] or tensor.shape[2:] != like.shape[2:]:
        return tensor
    given, needed = tensor.shape[1], like.shape[1]
    if (given, needed) == (3, 1):
        return tensor.sum(dim=1, keepdim=True)
    if (given, needed) == (1, 3):
        return tensor.expand(-1, 3, -1, -1) / 3
    return tensor
