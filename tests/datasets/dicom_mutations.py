"""Read mutated DICOM files in a process of its own: ``python dicom_mutations.py FOLDER SEED FIRST LAST``.

FOLDER holds sound files, ``*.dcm``. The mutants FIRST to LAST - 1 of SEED are written beside them, one after the
other, and read. Each gives one line of JSON; a file that takes longer than 10 seconds ends the process by SIGALRM,
and memory beyond 4 GiB raises MemoryError.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import image_size, read_mammogram, read_mask
from mammodet.datasets.standardise import Recipe

LIMIT_S = 10
LIMIT_BYTES = 4 * 2**30
SECRETS = ("Smith", "Jane", "19600101", "ACC99")
_LONG = {b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD", b"OL", b"UC", b"UR"}
_REPRESENTATIONS = [
    b"US",
    b"SS",
    b"UL",
    b"DS",
    b"IS",
    b"CS",
    b"LO",
    b"PN",
    b"DA",
    b"SQ",
    b"OB",
    b"OW",
    b"UN",
    b"UI",
    b"ZZ",
]
_ABSURD = [0, 1, 2, 3, 7, 12, 16, 31, 32, 64, 255, 4095, 11586, 32767, 65535]
_NUMBERS = [
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "SamplesPerPixel",
    "PixelRepresentation",
]
_TEXTS = [
    "NumberOfFrames",
    "WindowCenter",
    "WindowWidth",
    "RescaleSlope",
    "RescaleIntercept",
    "ImagerPixelSpacing",
]
_SYNTAXES = [f"1.2.840.10008.1.2{one}" for one in ("", ".1", ".2", ".1.99", ".5")]
_SYNTAXES += [f"1.2.840.10008.1.2.4.{one}" for one in (50, 51, 57, 70, 80, 81, 90, 91, 100, 201)]


def elements(content: bytes) -> list[tuple[int, int, int]]:
    """Return (start, start of the value, end) of the elements of an explicit little-endian file."""
    found, position = [], 132
    while position + 8 <= len(content):
        head, representation = 8, content[position + 4 : position + 6]
        length = struct.unpack_from("<H", content, position + 6)[0]
        if representation in _LONG:
            head = 12
            length = struct.unpack_from("<I", content.ljust(position + 12, b"\0"), position + 8)[0]
        end = position + head + length
        if length == 0xFFFFFFFF or end > len(content):
            return [*found, (position, position + head, len(content))]
        found.append((position, position + head, end))
        position = end
    return found


def _flip(content: bytearray, rng: np.random.Generator, first: int, last: int) -> bytes:
    for position in rng.integers(first, max(first + 1, last), rng.integers(1, 12)):
        content[min(int(position), len(content) - 1)] ^= 1 << int(rng.integers(8))
    return bytes(content)


def flip_header(content: bytes, rng: np.random.Generator) -> bytes:
    return _flip(bytearray(content), rng, 128, max(200, content.rfind(b"\xe0\x7f\x10\x00") + 12))


def flip_pixels(content: bytes, rng: np.random.Generator) -> bytes:
    return _flip(bytearray(content), rng, max(200, content.rfind(b"\xe0\x7f\x10\x00")), len(content))


def flip_stream_header(content: bytes, rng: np.random.Generator) -> bytes:
    start = max(200, content.rfind(b"\xe0\x7f\x10\x00"))
    return _flip(bytearray(content), rng, start, start + 250)


def truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(0, len(content)))]


def cut_out(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(132, len(content)))
    return content[:start] + content[start + int(rng.integers(1, 2000)) :]


def double(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(content)))
    part = content[start : start + int(rng.integers(1, 3000))]
    return content[:start] + part * int(rng.integers(2, 5)) + content[start:]


def scramble(content: bytes, rng: np.random.Generator) -> bytes:
    start, count = int(rng.integers(128, len(content))), int(rng.integers(1, 200))
    return content[:start] + rng.bytes(count) + content[start + count :]


def swap_tags(content: bytes, rng: np.random.Generator) -> bytes:
    found = elements(content)
    first, second = (found[int(one)][0] for one in rng.integers(0, len(found), 2))
    changed = bytearray(content)
    changed[first : first + 4], changed[second : second + 4] = (
        content[second : second + 4],
        content[first : first + 4],
    )
    return bytes(changed)


def swap_values(content: bytes, rng: np.random.Generator) -> bytes:
    found = elements(content)
    (_, first, end), (_, second, last) = sorted(found[int(one)] for one in rng.integers(0, len(found), 2))
    return content[:first] + content[second:last] + content[end:second] + content[first:end] + content[last:]


def swap_representation(content: bytes, rng: np.random.Generator) -> bytes:
    found = elements(content)
    changed = bytearray(content)
    for one in rng.integers(0, len(found), 3):
        start = found[int(one)][0] + 4
        changed[start : start + 2] = _REPRESENTATIONS[int(rng.integers(len(_REPRESENTATIONS)))]
    return bytes(changed)


def undefined_length(content: bytes, rng: np.random.Generator) -> bytes:
    found = elements(content)
    start, value, _ = found[int(rng.integers(len(found)))]
    length = b"\xff\xff\xff\xff" if rng.integers(2) else struct.pack("<I", int(rng.integers(2**31, 2**32)))
    head = content[start : start + 4] + _REPRESENTATIONS[int(rng.integers(9, 13))] + b"\0\0" + length
    return content[:start] + head + content[value:]


def nest(content: bytes, rng: np.random.Generator) -> bytes:
    """Put a sequence of many levels, closed or not, before an element."""
    found = elements(content)
    start = found[int(rng.integers(len(found)))][0]
    depth = int(rng.choice([1, 10, 300, 3000, 30000]))
    opened = (b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * depth
    closed = (b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0") * (depth if rng.integers(2) else 0)
    return content[:start] + opened + closed + content[start:]


def _rewritten(
    change: Callable[[Dataset, np.random.Generator], None],
) -> Callable[[bytes, np.random.Generator], bytes]:
    def mutate(content: bytes, rng: np.random.Generator) -> bytes:
        data = pydicom.dcmread(BytesIO(content), force=True)
        change(data, rng)
        written = BytesIO()
        pydicom.dcmwrite(written, data)
        return written.getvalue()

    mutate.__name__ = change.__name__
    return mutate


def absurd_numbers(data: Dataset, rng: np.random.Generator) -> None:
    for keyword in rng.choice(_NUMBERS, int(rng.integers(1, 4))):
        setattr(data, str(keyword), int(rng.choice(_ABSURD)))


def absurd_size(data: Dataset, rng: np.random.Generator) -> None:
    data.Rows, data.Columns = int(rng.choice([11585, 65535, 1])), int(rng.choice([11585, 65535, 1]))


def absurd_texts(data: Dataset, rng: np.random.Generator) -> None:
    for keyword in rng.choice(_TEXTS, int(rng.integers(1, 4))):
        values = ["0", "-1", "", "1\\2\\3", "99999999999", "1e308", "-1e308", "1e-300"]
        setattr(
            data, str(keyword), values[int(rng.integers(5 if keyword == "NumberOfFrames" else len(values)))]
        )


def absurd_padding(data: Dataset, rng: np.random.Generator) -> None:
    representation = str(rng.choice(["US", "SS", "DS", "OB"]))
    values = {"OB": b"\1\2\3\4", "DS": "1e300", "SS": int(rng.integers(-(2**15), 2**15))}
    for tag in (0x00280120, 0x00280121):
        data.add_new(tag, representation, values.get(representation, int(rng.integers(2**16))))


def other_syntax(data: Dataset, rng: np.random.Generator) -> None:
    data.file_meta.TransferSyntaxUID = pydicom.uid.UID(str(rng.choice(_SYNTAXES[:2] + _SYNTAXES[4:])))
    pixels = data["PixelData"]
    pixels.is_undefined_length = data.file_meta.TransferSyntaxUID.is_compressed


BLIND = [flip_header, flip_pixels, flip_stream_header, truncate, cut_out, double, scramble]
EXPLICIT = [swap_tags, swap_values, swap_representation, undefined_length, nest]
REWRITTEN = [
    _rewritten(one) for one in (absurd_numbers, absurd_size, absurd_texts, absurd_padding, other_syntax)
]


def mutant(files: list[Path], seed: int, index: int) -> tuple[str, bytes]:
    """Return what was done, and the mutated file; the same for the same seed and index."""
    rng = np.random.default_rng([seed, index])
    path = files[index % len(files)]
    content = path.read_bytes()
    explicit = path.stem not in {
        "implicit",
        "big_endian",
        "deflated",
    }  # the kind of headers that elements reads
    mutations = [*BLIND, *REWRITTEN, *(EXPLICIT if explicit else [])]
    names = []
    for _ in range(int(rng.integers(1, 3))):
        mutation = mutations[int(rng.integers(len(mutations)))]
        try:
            content = mutation(content, rng)
        except Exception:  # what one mutation broke the next may not be able to write
            continue
        names.append(mutation.__name__)
    return f"{path.stem}: {' + '.join(names)}", content


def outcome(path: Path) -> str:
    """Read a file in every way; return "read", "rejected", or what must not be."""
    told = "read"
    recipe = Recipe(allow_for_processing=True, allow_secondary_capture=True)
    for read in (
        lambda: read_mammogram(path, recipe, identify_by="hash"),
        lambda: image_size(path),
        lambda: read_mask(path),
    ):
        try:
            found: Any = read()
        except InputError as error:
            told, text = "rejected", str(error)
            if error.file != str(path) or "\n" in text:
                return f"a message without its file, or of several lines: {text!r}"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
        else:
            text = ""
            if dataclasses.is_dataclass(found):
                if not np.isfinite(found.pixels).all() or found.pixels.min() < 0 or found.pixels.max() > 1:
                    return "pixels beyond 0 to 1"
                text = repr((found.notes, found.view, found.laterality, found.patient_id))
        if any(secret.upper() in text.upper() for secret in SECRETS):
            return f"a secret was told: {text}"
    return told


def main() -> None:
    folder, seed, first, last = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    files = sorted(folder.glob("*.dcm"))
    for index in range(first, last):
        done, content = mutant(files, seed, index)
        # The suffix would make other kinds of files an error of their own.
        path = folder / "mutants" / f"{seed}-{index}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        print(json.dumps({"index": index, "done": done}), flush=True)
        signal.alarm(LIMIT_S)
        start = time.perf_counter()
        told = outcome(path)
        signal.alarm(0)
        peak = _peak_bytes()
        seconds = time.perf_counter() - start
        print(json.dumps({"index": index, "told": told, "seconds": seconds, "peak": peak}), flush=True)
        path.unlink()


def _peak_bytes() -> int:
    """Return the most memory of this process; where there is no /proc, also that of whoever started it.

    ``ru_maxrss`` counts what a forked process held before it became this program: all of a test run.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
