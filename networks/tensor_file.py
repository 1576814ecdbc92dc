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

# What a file holds, by the first part of its format, and who takes it: told to those who give it to others.
_HELD = {
    "mammodet.detector": ("a detector", "mammodet score runs it"),
    "mammodet.classifier": ("a classifier", "mammodet classify or mammodet heatmap run it"),
}


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
    """Return the header of a file of the format ``stated``.

    Raises InputError for a damaged file and for one of another format; of a file of mammodet that belongs to
    other commands it names those.
    """
    content = _header(path, remedy)
    if content.get("format") != stated:
        raise _other_format(path, content.get("format"), stated, remedy)
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


def _other_format(path: Path, found: Any, stated: str, remedy: str) -> InputError:
    own, other = (_HELD.get(str(name).partition("/")[0]) for name in (stated, found))
    if own is None or other is None or own == other:
        return InputError(f"is not of format {stated}", file=path, field="format", value=found, remedy=remedy)
    problem = f"is {other[0]}, not {own[0]}"
    return InputError(problem, file=path, field="format", value=found, remedy=other[1])
