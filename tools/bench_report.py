"""The tables of mammodet bench, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Content = Mapping[str, Any]

_TITLES = {
    "inductor": "backbone, pyramid and proposal head, bf16",
    "gpu": "one image of a batch",
    "training": "training step, batch 1",
}


def markdown(content: Content) -> str:
    """Return all tables that were measured."""
    rates = content["matrix_tflops"]
    told = ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items())
    lines = [_machine(content["machine"]), f"Matrix product, TFLOP/s: {told}. Median of {content['runs']}."]
    for table in content.get("inference", []):
        lines += ["", *_inference(table, rates)]
    if "first_result_s" in content:
        seconds = content["first_result_s"]
        lines += ["", f"From the start of a process to its first result: {seconds:.1f} s"]
    for name, title in _TITLES.items():
        if name in content:
            lines += ["", *_rows(content[name], title)]
    if "memory" in content:
        lines += ["", *_memory(content["memory"])]
    if "evaluation" in content:
        lines += ["", *_evaluation(content["evaluation"])]
    if "pipeline" in content:
        lines += ["", "| around the network | per second |", "|---|---|"]
        lines += [f"| {one['step']} | {one['per_second']:.2f} {one['unit']} |" for one in content["pipeline"]]
    return "\n".join(lines)


def prepare_markdown(content: Content, height: int, width: int) -> str:
    """Return the table of ``--prepare``."""
    lines = [
        _machine(content["machine"]),
        f"{content['images']} phantoms of {width} x {height} in JPEG 2000, "
        f"{content['source_mb']:.1f} MB each, prepared {content['prepared_mb']:.1f} MB",
        "",
        "| step | images per second | ratio |",
        "|---|---|---|",
    ]
    for rate in content["rates"]:
        ratio = "" if rate["ratio"] is None else f"{rate['ratio']:.2f} of {rate['of']}"
        lines.append(f"| {rate['step']} | {rate['images_per_second']:.2f} | {ratio} |")
    return "\n".join(lines)


def _memory(rows: Sequence[Content]) -> list[str]:
    lines = ["| training step | planned GB | measured GB | planned / measured |", "|---|---|---|---|"]
    for row in rows:
        planned, measured = row["planned"], row["measured"]
        lines.append(
            f"| {row['setup']} | {planned / 1e9:.2f} | {measured / 1e9:.2f} | {planned / measured:.2f} |"
        )
    return lines


def _evaluation(table: Content) -> list[str]:
    images = table["images"]
    title = f"evaluation of {images:,} images, {100 * images:,} boxes"
    lines = [f"| {title} | seconds | processor seconds | peak GiB |", "|---|---|---|---|"]
    for row in table["rows"]:
        times = f"{row['seconds']:.1f} | {row['processor_seconds']:.1f}"
        lines.append(f"| {row['step']} | {times} | {_number(row['peak_gib'], 1)} |")
    return lines


def roofline_share(table: Content, row: Content, rates: Mapping[str, float]) -> float | None:
    """Return how many times longer a row took than all operations of the image in a matrix product would.

    Below 1 is possible: what is air is counted as an operation, but not computed.
    """
    rate = rates.get(row["precision"])
    return None if rate is None else float(row["seconds"] / (table["tflop"] / rate))


def _machine(machine: Content) -> str:
    instructions = " ".join([machine["instructions"], *machine["bf16_instructions"]])
    return (
        f"{machine['processor']} ({instructions}), {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"torch {machine['torch']}"
    )


def _inference(table: Content, rates: Mapping[str, float]) -> list[str]:
    lines = [
        f"{table['height']} x {table['width']} px, {table['tflop']:.2f} TFLOP; "
        f"{table['computed_share']:.0%} of the frame is computed when air is left out",
        "",
        "| detect one image | seconds | times faster | times its roofline | peak GiB |",
        "|---|---|---|---|---|",
    ]
    for row in table["rows"]:
        share = _number(roofline_share(table, row, rates))
        lines.append(f"{_timing(row)} {share} | {_number(row['peak_gib'], 1, '-')} |")
    return lines


def _rows(rows: Sequence[Content], title: str) -> list[str]:
    lines = [f"| {title} | seconds | times faster | peak GiB |", "|---|---|---|---|"]
    return lines + [f"{_timing(row)} {_number(row['peak_gib'], 1, '-')} |" for row in rows]


def _timing(row: Content) -> str:
    """Return the cells that all tables of rows begin with."""
    return f"| {row['step']} | {_number(row['seconds'], 3)} | {_number(row['ratio'])} |"


def _number(value: float | None, digits: int = 2, missing: str = "") -> str:
    return missing if value is None else f"{value:.{digits}f}"
