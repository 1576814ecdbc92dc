"""The file of a trained classifier: its tensors, and in the header all that must be known to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from mammodet.classification.classifier import FILE_FORMAT, FILE_REMEDY, Classifier
from mammodet.classification.patch_networks import PatchNetworkConfig, build_patch_network
from mammodet.classification.sppnet import SPPNetConfig, build_sppnet
from mammodet.classification.task import Task
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.networks.tensor_file import read_content, read_tensors, write_tensor_file

NetworkConfig = SPPNetConfig | PatchNetworkConfig
_KINDS: Mapping[str, type[Any]] = {"sppnet": SPPNetConfig, "patch": PatchNetworkConfig}


@dataclass(frozen=True)
class ClassifierHeader:
    """What must be known to run a classifier and to tell where it comes from.

    ``config`` tells architecture, classes and normalisation, with nothing left to be measured; ``task`` what
    the classes stand for; ``recipe`` how mammograms are read; ``fingerprint`` the data it was trained on;
    ``training`` is free for the trainer's notes (step, metric, command).
    """

    config: NetworkConfig
    task: Task
    recipe: Recipe
    fingerprint: str
    training: dict[str, Any] = field(default_factory=dict)
    mammodet_version: str = field(default_factory=lambda: version("mammodet"))


def build_network(config: NetworkConfig, weights: str = "none") -> Classifier:
    """Return the network of a configuration, see ``build_sppnet`` and ``build_patch_network``."""
    if isinstance(config, SPPNetConfig):
        return build_sppnet(config, weights)
    return build_patch_network(config, weights)


def write_model(path: Path, tensors: Mapping[str, Tensor], header: ClassifierHeader) -> None:
    """Write a model file atomically; tensors are stored contiguous, on the CPU, in their own dtype."""
    kind = next(name for name, one in _KINDS.items() if isinstance(header.config, one))
    content = {
        "format": FILE_FORMAT,
        "kind": kind,
        **asdict(header),
        "recipe": header.recipe.to_dict(),
    }
    write_tensor_file(path, tensors, content)


def read_header(path: Path) -> ClassifierHeader:
    """Read and check the header; raises InputError for a damaged file or one of another program."""
    content = read_content(path, FILE_FORMAT, FILE_REMEDY)
    try:
        return _parse(content, path)
    except InputError as error:
        raise InputError(
            error.problem, file=path, field=error.field, value=error.value, remedy=error.remedy or FILE_REMEDY
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"has a damaged header: {error!r}", file=path, remedy=FILE_REMEDY) from None


def load_classifier(path: Path) -> tuple[Classifier, ClassifierHeader]:
    """Return a trained network in evaluation mode on the CPU, and its header.

    Raises InputError when the file is damaged or its tensors do not fit its own header.
    """
    header = read_header(path)
    network = build_network(header.config)
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise InputError(
            f"has tensors that do not fit its own header: {str(error).splitlines()[-1]}",
            file=path,
            remedy=FILE_REMEDY,
        ) from None
    return network.eval(), header


def _parse(content: dict[str, Any], path: Path) -> ClassifierHeader:
    if content["kind"] not in _KINDS:
        raise InputError(
            "is a kind of classifier that this version does not know",
            field="kind",
            value=content["kind"],
            remedy=f"it was written by mammodet {content.get('mammodet_version')}, use that",
        )
    kind = _KINDS[content["kind"]]
    config: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content["config"].items()
    }
    if unknown := config.keys() - {one.name for one in fields(kind)}:
        raise InputError(
            "has options this version does not know",
            field="config",
            value=sorted(unknown),
            remedy=f"it was written by mammodet {content.get('mammodet_version')}, use that",
        )
    header = ClassifierHeader(
        config=kind(**config),
        task=Task.from_dict(content["task"]),
        recipe=Recipe.from_dict(content["recipe"]),
        fingerprint=content["fingerprint"],
        training=content["training"],
        mammodet_version=content["mammodet_version"],
    )
    if header.config.image_mean is None or header.config.image_std is None:
        raise InputError("has no normalisation", field="config.image_mean, config.image_std")
    if header.config.classes != header.task.names:
        raise InputError("has other outputs than its task", field="task.classes", value=header.task.names)
    return header
