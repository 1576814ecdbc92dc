"""Named tensors with a JSON header in one safetensors file, so that loading runs no pickle."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save_file
from torch import Tensor

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.errors import InputError

_KEY = "mammodet"


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
    """Write tensors with a header atomically; they are stored contiguous, on the CPU, in their own dtype."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(plain, temporary, metadata={_KEY: json.dumps(content)})
        except safetensors.SafetensorError as error:  # which is no OSError, whatever the system said
            raise OSError(errno.EIO, f"could not be written ({error})", str(path)) from error
        mask = os.umask(0)  # there is no other way to ask for it
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # safetensors lets nobody but the owner read


def stated_format(path: Path, remedy: str) -> str | None:
    """Return the format that a file's header states; InputError for a damaged file or one without header."""
    found = _header(path, remedy).get("format")
    return found if isinstance(found, str) else None


def read_content(path: Path, stated: str, remedy: str) -> dict[str, Any]:
    """Return the header of a file of the format ``stated``; InputError for another or a damaged file."""
    content = _header(path, remedy)
    if content.get("format") != stated:
        problem = f"is not of format {stated}"
        raise InputError(problem, file=path, field="format", value=content.get("format"), remedy=remedy)
    return content


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file to the CPU."""
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def _header(path: Path, remedy: str) -> dict[str, Any]:
    if not path.is_file():
        raise InputError("no such model file", file=path, remedy=remedy)
    try:
        with safetensors.safe_open(path, framework="pt") as reader:
            text = (reader.metadata() or {}).get(_KEY)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"is no safetensors file: {error}", file=path, remedy=remedy) from None
    if text is None:
        raise InputError("has no mammodet header", file=path, remedy=remedy)
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise InputError(f"has a damaged header: {error!r}", file=path, remedy=remedy) from None
