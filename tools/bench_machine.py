"""What mammodet bench measures of the machine itself: matrix products, memory, names."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mammodet.networks.allocator import keep_freed_memory

_SIDE = 2048  # of the matrices; large enough for the best rate, small enough for a second


@dataclass(frozen=True)
class Row:
    """One line of a table.

    ``precision`` is "fp32", "tf32", "bf16" or "int8"; ``seconds`` is a median; ``peak_gib`` is of the whole
    process that ran the step, weights of both detectors included, or of the GPU, and None where the system
    does not tell it; ``ratio`` says how many times faster than the first row of the same table.
    """

    step: str
    precision: str
    seconds: float
    peak_gib: float | None
    ratio: float | None = None


def describe(device: torch.device) -> dict[str, Any]:
    """Return processor, cores, memory and versions, which every table is printed with."""
    return {
        "processor": _processor() if device.type == "cpu" else torch.cuda.get_device_name(device),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16_instructions": _has("avx512_bf16", "amx_bf16"),
        "memory_gib": _memory_gib(),
        "torch": torch.__version__,
        "system": platform.system(),
    }


def matrix_rates(device: torch.device) -> dict[str, float]:
    """Return the TFLOP/s (TOP/s for int8) of a square matrix product in each precision."""
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        matrix = torch.randn(_SIDE, _SIDE, device=device).to(dtype)
        rates[name] = _rate(lambda matrix=matrix: torch.mm(matrix, matrix), device)  # type: ignore[misc]
    if device.type == "cpu":
        stored = torch.randint(-127, 127, (_SIDE, _SIDE), dtype=torch.int8)
        with contextlib.suppress(AttributeError, RuntimeError):  # private; not every torch has it
            rates["int8"] = _rate(lambda: torch._int_mm(stored, stored), device)
    return rates


def measure(
    step: str,
    precision: str,
    work: Callable[[], Any],
    runs: int,
    device: torch.device,
    *,
    first: Row | None = None,
) -> Row:
    """Return a row of a step: its median time, its peak, and its ratio to the ``first`` row of the table."""
    forget_peak(device)
    seconds = median_seconds(work, runs, device)
    return Row(step, precision, seconds, peak_gib(device), None if first is None else first.seconds / seconds)


def median_seconds(step: Callable[[], Any], runs: int, device: torch.device) -> float:
    """Return the median time of ``runs`` calls, after one that is not counted."""
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def forget_peak(device: torch.device) -> None:
    """Give freed memory back and let the peak be measured from here on."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # not Linux, or a container that forbids it
        Path("/proc/self/clear_refs").write_text("5")


def peak_gib(device: torch.device) -> float | None:
    """Return the most memory in use since ``forget_peak``: of the GPU, or of this process on the CPU.

    None where the system does not tell it. Where it cannot forget a peak, it is that since the start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 2**20
    try:
        import resource  # noqa: PLC0415  # not on Windows
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def keep_memory(device: torch.device) -> bool:
    """Set the allocator as ``Detector`` does; nothing on a GPU, whose memory torch keeps anyway."""
    return device.type == "cpu" and keep_freed_memory()


def _rate(product: Callable[[], Any], device: torch.device) -> float:
    return 2 * _SIDE**3 / median_seconds(product, 5, device) / 1e12


def _processor() -> str:
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _has(*flags: str) -> list[str]:
    known = next((line.split() for line in _cpuinfo() if line.startswith("flags")), [])
    return [flag for flag in flags if flag in known]


def _cpuinfo() -> list[str]:
    listing = Path("/proc/cpuinfo")
    return listing.read_text().splitlines() if listing.is_file() else []


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
