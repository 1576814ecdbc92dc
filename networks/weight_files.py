"""Start weights of other programs: torch's own files and torchvision's downloads, with one-line errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mammodet.datasets.errors import InputError

_OFFLINE = (
    "connect to a network, put the file into torch's hub cache (TORCH_HOME), or give --weights FILE or "
    "--weights none"
)


def read_torch_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a Lightning checkpoint or torch state dict; no pickle is executed."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types here, from zipfile's to pickle's
        raise InputError(
            f"cannot be read as weights ({type(error).__name__}: {str(error).partition(chr(10))[0]})",
            file=path,
            remedy="give a .safetensors model, a checkpoint or a torch state dict without pickled objects",
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise InputError("holds no state dict", file=path, value=type(content).__name__)
    return {key.removeprefix("model."): one for key, one in content.items() if isinstance(one, Tensor)}


def download_state(weights: Any) -> dict[str, Tensor]:
    """Return the tensors of one of torchvision's weights, from its cache or the network."""
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is a RuntimeError
        raise InputError(
            f"the download of torchvision's {weights} failed: {error}", field="--weights", remedy=_OFFLINE
        ) from None
    return state
