"""Which arithmetic is fast on this machine."""

from __future__ import annotations

import time

import torch

from mammodet.datasets.errors import InputError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    InputError
        When ``name`` is no device or this machine has none of that name.
    """
    present = ["cpu"] + ["mps"] * torch.backends.mps.is_available()
    present += [
        "cuda",
        *(f"cuda:{index}" for index in range(torch.cuda.device_count())),
    ] * torch.cuda.is_available()
    if name == "auto":
        return torch.device(next(one for one in ("cuda", "mps", "cpu") if one in present))
    if name not in present:
        raise InputError(
            "no such device here",
            field="--device",
            value=name,
            remedy=f"choose auto or one of {', '.join(present)}",
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """Return "fp32", "bf16" or "int8"; int8 only when it is asked for.

    "auto" asks CUDA what it has; on a CPU it times a small matrix product in both, because a processor
    without bf16 units computes bf16 correctly but slower, and no portable flag tells the two apart.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    return "bf16" if _product_seconds(torch.bfloat16) < 0.8 * _product_seconds(torch.float32) else "fp32"


def use_full_float32(device: torch.device) -> None:
    """Let fp32 be 32 bits on CUDA, in this process; torch's own default rounds convolutions to TF32's 19."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def _product_seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(768, 768, dtype=dtype)
    best = float("inf")
    for _ in range(4):  # the first one warms up
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        best = min(best, time.perf_counter() - start)
    return best
