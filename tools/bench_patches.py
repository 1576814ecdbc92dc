"""The part of mammodet bench that measures the patch store: batches drawn from many patches on disk.

It imports no torch. Batches are drawn in a process of its own, so that its memory is that of drawing.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mammodet.datasets.geometry import Geometry
from mammodet.datasets.patch_draws import BalancedDraws
from mammodet.datasets.patch_records import ImagePatches, Window
from mammodet.datasets.patch_schema import connect_reader
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.patch_writer import PatchWriter

BATCH = 256
_PER_IMAGE = 100
_BATCHES = 300
_COLD = 30
_GROUPS = (("normal",), ("benign", "malignant"))

Times = tuple[float, float]  # milliseconds by the clock, and of the processor


@dataclass(frozen=True)
class PatchRow:
    """One line of the table: milliseconds of a step by the clock and of the processor.

    ``ratio`` is how many times as long as the first line it takes, by the clock.
    """

    step: str
    milliseconds: float
    processor_ms: float
    ratio: float | None = None


def measure_patches(patches: int, side: int, folder: Path) -> dict[str, Any]:
    """Write a store of ``patches`` of ``side`` x ``side`` px to ``folder`` and draw batches of 256 from it.

    Returns the rows, the megabytes of the store, the patches written per second, and the resident memory in
    MB of the drawing process after its first batch and after 300 more.
    """
    path = folder / "patches.sqlite"
    start = time.perf_counter()
    _write(path, patches, side)
    written = patches / (time.perf_counter() - start)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:  # a fresh process: its peak is that of drawing
        drawn = pool.apply(_draw, (path,))
    steps = {
        "warm": f"patch store, batch of {BATCH} of {patches:,}",
        "cold": "the same, hardly anything of the store in memory",
        "first": "the very first batch, process and memory cold",
        "random": f"for comparison: ORDER BY RANDOM() LIMIT {BATCH}",
    }
    rows = [
        PatchRow(
            step,
            milliseconds=drawn[name][0],
            processor_ms=drawn[name][1],
            ratio=None if name == "warm" else drawn[name][0] / drawn["warm"][0],
        )
        for name, step in steps.items()
    ]
    return {
        "patches": patches,
        "side": side,
        "store_mb": path.stat().st_size / 1e6,
        "written_per_second": written,
        "first_mb": drawn["first_mb"],
        "last_mb": drawn["last_mb"],
        "rows": [asdict(row) for row in rows],
    }


def patches_markdown(content: Mapping[str, Any]) -> str:
    """Return the table of ``--patches``."""
    machine = content["machine"]
    side = content["side"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB",
        f"{content['patches']:,} patches of {side} x {side} px and 16 bits: {content['store_mb']:,.0f} MB, "
        f"written at {content['written_per_second']:,.0f} per second",
        "",
        "| step | milliseconds | of the processor | times the first |",
        "|---|---|---|---|",
    ]
    for row in content["rows"]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}"
        lines.append(f"| {row['step']} | {row['milliseconds']:.1f} | {row['processor_ms']:.1f} | {ratio} |")
    if content["first_mb"] is not None:
        told = (
            f"{content['first_mb']:.0f} MB after one batch, {content['last_mb']:.0f} MB after {_BATCHES} more"
        )
        lines += ["", f"Memory of the drawing process: {told}."]
    return "\n".join(lines)


def _write(path: Path, patches: int, side: int) -> None:
    """Write patches of noise: three quarters normal, as many malignant as benign, ten images of a patient."""
    random = np.random.default_rng(0)
    settings = {"storage": "stored", "depth": 16, "size": side}
    noise = [random.bytes(2 * side * side) for _ in range(_PER_IMAGE)]
    geometry = Geometry(4096, 4096)
    labels = ["normal"] * 75 + ["benign"] * 13 + ["malignant"] * 12
    windows = [Window(index * 8, 0, side, label) for index, label in enumerate(labels)]
    images = -(-patches // _PER_IMAGE)
    with PatchWriter(path, settings) as writer:
        for image in tqdm(range(images), desc="writing", unit="image", file=sys.stderr):
            count = min(_PER_IMAGE, patches - image * _PER_IMAGE)
            writer.add(
                ImagePatches(
                    f"bench/{image}",
                    f"{image}.png",
                    f"bench/patient {image // 10}",
                    "train",
                    geometry,
                    tuple(windows[:count]),
                    tuple(noise[:count]),
                )
            )


def _draw(path: Path) -> dict[str, Any]:
    """Measure the batches of a store, first with nothing of it in memory."""
    _forget(path)
    with closing(PatchStore(path)) as store:
        groups = [group for group in _GROUPS if any(store.counts().get(("train", one)) for one in group)]
        draws = store.draws("train", groups, seed=1)
        first = _batch(store, draws, 0)
        first_mb = _resident_mb()
        cold = [_batch(store, draws, step) for step in range(1, _COLD + 1)]
        # The whole store is read once, so that what follows comes from memory, where it has room.
        with suppress(OSError), path.open("rb") as stream:
            while stream.read(1 << 24):
                pass
        warm = [_batch(store, draws, step) for step in range(1000, 1000 + _BATCHES)]
        last_mb = _resident_mb()
    return {
        "first": first,
        "cold": _median(cold),
        "warm": _median(warm),
        "random": _naive(path),
        "first_mb": first_mb,
        "last_mb": last_mb,
    }


def _timed(work: Callable[[], object]) -> Times:
    start, used = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - start) * 1e3, (time.process_time() - used) * 1e3


def _batch(store: PatchStore, draws: BalancedDraws, step: int) -> Times:
    return _timed(lambda: store.batch(draws, BATCH, epoch=0, step=step))


def _median(times: Sequence[Times]) -> Times:
    return statistics.median(one[0] for one in times), statistics.median(one[1] for one in times)


def _naive(path: Path) -> Times:
    query = "SELECT content FROM pixels WHERE id IN (SELECT pixels FROM patches ORDER BY RANDOM() LIMIT ?)"
    with closing(connect_reader(path)) as connection:
        return _timed(lambda: connection.execute(query, (BATCH,)).fetchall())


def _forget(path: Path) -> None:
    """Let the system drop what it keeps of a file, where it can be told to (Linux)."""
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _resident_mb() -> float | None:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1e3
    return None
