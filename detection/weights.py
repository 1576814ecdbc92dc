"""Start weights: torchvision's COCO detector, an ImageNet backbone, a file, or none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torchvision
from torch import Tensor
from torchvision.models.detection import FasterRCNN, FasterRCNN_ResNet50_FPN_Weights

from mammodet.datasets.errors import InputError
from mammodet.detection.model_file import is_model_file, read_header
from mammodet.networks.tensor_file import read_tensors
from mammodet.networks.weight_files import download_state, read_torch_state

_log = logging.getLogger(__name__)


def is_pretrained(weights: str) -> bool:
    """Tell whether training starts from learned weights (``coco``, ``imagenet`` or a file)."""
    return weights != "none"


def start_weights(weights: str, backbone: str) -> dict[str, Tensor] | None:
    """Read start weights.

    Parameters
    ----------
    weights:
        ``coco`` (torchvision's fasterrcnn_resnet50_fpn, ResNet50 only), ``imagenet`` (backbone only),
        ``none``, or a file: a mammodet model, a Lightning checkpoint of one, or a torch state dict of a
        detector or of a torchvision ResNet.
    backbone:
        Name of the ResNet they are for.

    Returns
    -------
    dict[str, Tensor] | None
        Tensors by name; None for ``none``.

    Raises
    ------
    InputError
        When a download fails or a file cannot be read.
    """
    if weights == "none":
        return None
    if weights == "imagenet":
        return download_state(torchvision.models.get_model_weights(backbone)["IMAGENET1K_V1"])
    if weights != "coco":
        return read_state(Path(weights))
    if backbone != "resnet50":
        raise InputError(
            "torchvision has COCO weights for resnet50 only",
            field="--weights",
            value=f"coco with {backbone}",
            remedy="give --model.backbone resnet50, or --weights imagenet",
        )
    return download_state(FasterRCNN_ResNet50_FPN_Weights.COCO_V1)


def copy_weights(model: FasterRCNN, state: Mapping[str, Tensor], source: str) -> None:
    """Copy into a built detector what fits by name and shape; a bare ResNet goes into the backbone's body.

    The 91-class predictor of COCO weights does not fit and stays as initialised; what was left is logged.

    Raises
    ------
    InputError
        When no weight of the backbone fits; ``source`` is named as the value of ``--weights``.
    """
    own = model.state_dict()
    if not any(key.startswith("backbone.") for key in state):
        state = {f"backbone.body.{key}": tensor for key, tensor in state.items()}
    fitting = {key: tensor for key, tensor in state.items() if key in own and own[key].shape == tensor.shape}
    if not any(key.startswith("backbone.body.") for key in fitting):
        raise InputError(
            "no backbone weight fits the model by name and shape",
            field="--weights",
            value=source,
            remedy="give weights of the same backbone (--model.backbone)",
        )
    model.load_state_dict(fitting, strict=False)
    misfits = sorted(key for key in own.keys() - fitting.keys() if not key.endswith("num_batches_tracked"))
    _log.info("weights %s: %d tensors loaded, %d left as initialised", source, len(fitting), len(misfits))
    if misfits:
        _log.info("left as initialised: %s", ", ".join(misfits))


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a model file, Lightning checkpoint or torch state dict; no pickle is executed."""
    if not path.is_file():
        raise InputError(
            "no such file", file=path, field="--weights", remedy="give coco, imagenet, none or a file"
        )
    if is_model_file(path):
        read_header(path)  # refuses another category map
        return read_tensors(path)
    return read_torch_state(path)
