"""Every compression of DICOM: the stored values come out as they went in, or the file is refused by name."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from mammodet.datasets import dicom_file
from mammodet.datasets.dicom_file import open_dicom
from mammodet.datasets.dicom_pixels import decode
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import image_size, read_mammogram

ROOT = "1.2.840.10008.1.2"
JPEG = f"{ROOT}.4."
LOSSLESS = {
    "implicit little endian": ROOT,
    "explicit little endian": f"{ROOT}.1",
    "explicit big endian": f"{ROOT}.2",
    "deflated": f"{ROOT}.1.99",
    "encapsulated, uncompressed": f"{ROOT}.1.98",
    "RLE": f"{ROOT}.5",
    "JPEG lossless": f"{JPEG}57",
    "JPEG lossless, first-order": f"{JPEG}70",
    "JPEG-LS": f"{JPEG}80",
    "JPEG 2000": f"{JPEG}90",
    "HTJ2K": f"{JPEG}201",
    "HTJ2K RPCL": f"{JPEG}202",
}
COMPRESSED = [one for one in LOSSLESS.values() if one.startswith(JPEG) or one == f"{ROOT}.5"]
LOSSY = [f"{JPEG}50", f"{JPEG}51", f"{JPEG}81", f"{JPEG}91", f"{JPEG}203"]


def _values(breast: np.ndarray, kind: str) -> np.ndarray:
    """Return the breast with other values: their range fills the bits, and every bit of the range is used."""
    noise = np.random.default_rng(1).integers(0, 4, breast.shape)
    bits = int(kind.lstrip("ui"))
    unsigned = np.minimum(breast.astype(np.int64) * 2**bits // 4096 + noise, 2**bits - 1)
    unsigned[0, :2] = 0, 2**bits - 1
    if kind.startswith("i"):
        return (unsigned - 2 ** (bits - 1)).astype("i1" if bits <= 8 else "i2")
    return unsigned.astype("u1" if bits <= 8 else "u2")


def _decoded(path: Path) -> np.ndarray:
    return decode(open_dicom(path), path)


@pytest.mark.parametrize("kind", ["u8", "u12", "u16", "i12", "i16"])
@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_compressions_give_what_was_stored(make_dicom: Any, name: str, kind: str) -> None:
    values, bits = _values(make_dicom.breast, kind), int(kind[1:])
    path = make_dicom(values, syntax=LOSSLESS[name], BitsStored=bits, HighBit=bits - 1)
    mask = 2**bits - 1
    np.testing.assert_array_equal(_decoded(path) & mask, values.astype(np.int64) & mask)
    mammogram = read_mammogram(path)
    expected = (values.astype(np.float64) - values.min()) / (float(values.max()) - float(values.min()))
    np.testing.assert_allclose(mammogram.pixels, expected, atol=1e-6)
    assert (mammogram.bit_depth, mammogram.notes) == (bits, ())
    assert image_size(path) == (80, 96)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("kind", ["u8", "u10", "u12", "u16"])
def test_every_predictor_of_lossless_jpeg(make_dicom: Any, predictor: int, kind: str) -> None:
    values, bits = _values(make_dicom.breast, kind), int(kind[1:])
    frame = make_dicom.encode(values, f"{JPEG}57", bits, predictor=predictor)
    path = make_dicom(values, syntax=f"{JPEG}57", BitsStored=bits, HighBit=bits - 1, frame=frame)
    np.testing.assert_array_equal(_decoded(path), values)
    # liblj92, an implementation of its own, agrees.
    np.testing.assert_array_equal(imagecodecs.ljpeg_decode(frame).reshape(values.shape), values)


@pytest.mark.parametrize(
    ("syntax", "kind", "error"),
    [
        (f"{JPEG}50", "u8", 12),
        (f"{JPEG}51", "u8", 12),
        (f"{JPEG}51", "u12", 40),
        (f"{JPEG}81", "u12", 2),
        (f"{JPEG}81", "u16", 2),
        (f"{JPEG}91", "u12", 40),
        (f"{JPEG}203", "u12", 0),
    ],
)
def test_lossy_compressions_come_close(make_dicom: Any, syntax: str, kind: str, error: int) -> None:
    values, bits = _values(make_dicom.breast, kind), int(kind[1:])
    decoded = _decoded(make_dicom(values, syntax=syntax, BitsStored=bits, HighBit=bits - 1))
    difference = np.abs(decoded.astype(int) - values)
    # The sudden edge to the air costs DCT and wavelets most; tissue has texture of 60 of 4096.
    assert np.quantile(difference, 0.99) <= error
    assert difference.max() <= 4 * error


def test_a_stored_htj2k_stream(make_dicom: Any) -> None:
    # 100 * row + 7 * column**2, written by OpenJPH.
    frame = base64.b64decode(
        "/0//UQApQAAAAAAQAAAADAAAAAAAAAAAAAAAEAAAAAwAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQ"
        "kJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAKcAAf+TwAAm0foFB3QAAMAAE0AAEwAG/QKHdACu/gKHdADAABUw"
        "AATA33zDE08BQrQA9/0AAjQAwAAWlAABVve+740bPn3e94bPDP5iCLG3AMCBAwf+wDGBvrYAwAAupgABaIDtbtu2bUMDJWW727Zt29BASdnu"
        "tm3bNjRQUv4M7X6y+dr9ZcIrGzG+AMZGo9FoNBr6CEB79iEB7LoA/9k="
    )
    rows, columns = np.mgrid[:12, :16]
    values = (100 * rows + 7 * columns**2).astype(np.uint16)
    np.testing.assert_array_equal(_decoded(make_dicom(values, syntax=f"{JPEG}201", frame=frame)), values)


def test_a_real_lossless_jpeg(shared_data: Path) -> None:
    path = shared_data / "dicom" / "ge_essential_r_mlo.dcm"
    frame = next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))
    np.testing.assert_array_equal(_decoded(path), imagecodecs.ljpeg_decode(frame).reshape(3062, 2394))


@pytest.mark.parametrize("syntax", [f"{JPEG}70", f"{JPEG}80", f"{JPEG}90", f"{ROOT}.5"])
def test_a_frame_in_several_fragments(make_dicom: Any, syntax: str) -> None:
    path = make_dicom(syntax=syntax, fragments=3)
    np.testing.assert_array_equal(_decoded(path), make_dicom.breast)


def test_a_whole_jp2_file_as_frame(make_dicom: Any) -> None:
    frame = bytes(imagecodecs.jpeg2k_encode(make_dicom.breast, level=0, codecformat="jp2", reversible=True))
    assert frame[4:8] == b"jP  "
    path = make_dicom(syntax=f"{JPEG}90", frame=frame)
    np.testing.assert_array_equal(_decoded(path), make_dicom.breast)


def test_restart_intervals_of_jpeg(make_dicom: Any) -> None:
    # Written by hand: 8-bit values, predictor 1, one Huffman code "0" for "no difference", a restart per row.
    header = b"\xff\xd8\xff\xc3\x00\x0b\x08\x00\x04\x00\x08\x01\x01\x11\x00"
    header += b"\xff\xc4\x00\x14\x00\x01" + bytes(15) + b"\x00" + b"\xff\xdd\x00\x04\x00\x08"
    rows = [
        bytes([0]),
        b"\xff\xd0",
        bytes([0]),
        b"\xff\xd1",
        bytes([0]),
        b"\xff\xd2",
        bytes([0]),
        b"\xff\xd9",
    ]
    flat = np.full((4, 8), 128, dtype=np.uint8)
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x00\x00"
    path = make_dicom(flat, syntax=f"{JPEG}57", frame=header + scan + b"".join(rows))
    np.testing.assert_array_equal(_decoded(path), flat)
    # Two rows have changed places: the second and the third restart marker.
    rows[1], rows[3] = rows[3], rows[1]
    path = make_dicom(flat, syntax=f"{JPEG}57", frame=header + scan + b"".join(rows))
    with pytest.raises(InputError, match="wrong marker"):
        _decoded(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
@pytest.mark.parametrize("syntax", [*COMPRESSED, *LOSSY])
def test_half_a_picture_is_never_handed_out(
    make_dicom: Any, syntax: str, end: bytes, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    values = _values(make_dicom.breast, "u8" if syntax == f"{JPEG}50" else "u12")
    bits = 8 if values.itemsize == 1 else 12
    frame = make_dicom.encode(values, syntax, bits)
    cut = frame[: int(len(frame) * share)] + end
    path = make_dicom(values, syntax=syntax, frame=cut, BitsStored=bits, HighBit=bits - 1)
    with pytest.raises(InputError) as caught:
        _decoded(path)
    assert caught.value.remedy
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        (f"{JPEG}55", "JPEG Full Progression"),
        (f"{JPEG}92", "JPEG 2000 Part 2"),
        (f"{JPEG}100", "MPEG2"),
        (f"{JPEG}53", "JPEG Spectral Selection"),
        ("1.2.840.113619.5.2", "Transfer Syntax UID"),
    ],
)
def test_other_transfer_syntaxes_are_named(make_dicom: Any, syntax: str, name: str) -> None:
    path = make_dicom(syntax=syntax, frame=bytes(100))
    with pytest.raises(InputError, match=name):
        read_mammogram(path)


def _with_size(frame: bytes, marker: bytes, offset: int, *sizes: int, form: str) -> bytes:
    start = frame.index(marker) + offset
    coded = struct.pack(form, *sizes)
    return frame[:start] + coded + frame[start + len(coded) :]


@pytest.mark.parametrize(
    ("syntax", "marker", "offset", "form"),
    [
        (f"{JPEG}70", b"\xff\xc3", 5, ">HH"),
        (f"{JPEG}51", b"\xff\xc1", 5, ">HH"),
        (f"{JPEG}80", b"\xff\xf7", 5, ">HH"),
        (f"{JPEG}90", b"\xff\x51", 6, ">II"),
        (f"{JPEG}201", b"\xff\x51", 6, ">II"),
    ],
)
def test_streams_that_claim_other_sizes_are_refused(
    make_dicom: Any, syntax: str, marker: bytes, offset: int, form: str
) -> None:
    frame = make_dicom.encode(make_dicom.breast, syntax, 12)
    for size in (65000, 97, 0):
        path = make_dicom(syntax=syntax, frame=_with_size(frame, marker, offset, size, size, form=form))
        with pytest.raises(InputError, match="another size"):
            _decoded(path)


def _j2k(make_dicom: Any, tile: int = 0, precincts: bytes = b"", layers: int = 1, block: int = 4) -> bytes:
    """Return a JPEG 2000 stream whose headers ask for much memory."""
    frame = make_dicom.encode(make_dicom.breast, f"{JPEG}90", 12)
    if tile:
        frame = _with_size(frame, b"\xff\x51", 22, tile, tile, form=">II")
    start = frame.index(b"\xff\x52")
    levels = frame[start + 9]
    coded = (
        bytes([len(precincts) > 0, 0]) + layers.to_bytes(2, "big") + bytes([0, levels, block, block, 0, 1])
    )
    coded += precincts * (levels + 1)
    length = int.from_bytes(frame[start + 2 : start + 4], "big")
    segment = b"\xff\x52" + (len(coded) + 2).to_bytes(2, "big") + coded
    return frame[:start] + segment + frame[start + 2 + length :]


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ({"tile": 0xFFFFFFFF, "layers": 65535, "precincts": b"\x00"}, "precincts or code blocks"),
        ({"layers": 65535, "precincts": b"\x22"}, "precincts or code blocks"),
        ({"tile": 1}, "tiles"),
        ({"block": 9}, "coding segment"),
    ],
)
def test_jpeg_2000_headers_that_ask_for_gigabytes_are_refused(
    make_dicom: Any, case: dict[str, Any], problem: str
) -> None:
    frame = _j2k(make_dicom, **case)
    if case.get("tile") == 1:
        # 96 x 80 tiles are few enough: the missing ones are told instead.
        problem = "cut off: 1 of 7680 tiles"
    with pytest.raises(InputError, match=problem):
        _decoded(make_dicom(syntax=f"{JPEG}90", frame=frame))


def test_an_rle_bomb_is_refused(make_dicom: Any) -> None:
    # 64 bytes of header, then runs of 128 zeros: 2 bytes become 128, half a million become 32 million.
    runs = b"\x81\x00" * 250_000
    header = struct.pack("<16I", 2, 64, 64 + len(runs), *[0] * 13)
    path = make_dicom(syntax=f"{ROOT}.5", frame=header + runs + runs)
    with pytest.raises(InputError, match="decoded"):
        _decoded(path)


def test_a_deflate_bomb_is_refused(make_dicom: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_file, "LARGEST_FILE", 2**22)
    path = make_dicom(syntax=f"{ROOT}.1.99")
    content = path.read_bytes()
    start = 144 + struct.unpack("<I", content[140:144])[0]  # the file meta information tells its length
    inflated = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    private = struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, 2**24) + bytes(2**24)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(content[:start] + packer.compress(inflated + private) + packer.flush())
    assert path.stat().st_size < 2**16
    with pytest.raises(InputError, match="larger than any mammogram"):
        read_mammogram(path)
    assert image_size(path) == (80, 96)  # the header comes before the bomb


def test_files_larger_than_any_mammogram_are_refused_unread(
    make_dicom: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_dicom()
    monkeypatch.setattr(dicom_file, "LARGEST_FILE", 10_000)
    with pytest.raises(InputError, match=r"larger than any mammogram \(found 1\d{4}\)"):
        read_mammogram(path)
    # Tomosynthesis is told by its header, however many gigabytes follow it.
    with pytest.raises(InputError, match="multi-frame"):
        read_mammogram(make_dicom(NumberOfFrames=40))


def test_fragments_under_an_uncompressed_syntax_are_named(make_dicom: Any) -> None:
    path = make_dicom(syntax=f"{JPEG}70")
    path.write_bytes(
        path.read_bytes().replace(f"{JPEG}70".encode(), f"{ROOT}.1\0\0\0".encode().ljust(22, b"\0"))
    )
    with pytest.raises(InputError, match="in fragments"):
        read_mammogram(path)


@pytest.mark.parametrize("kind", ["u12", "i12"])
def test_an_old_overlay_in_unused_bits_is_no_tissue(make_dicom: Any, kind: str) -> None:
    values = _values(make_dicom.breast, kind)
    drawn = np.zeros(values.shape, dtype=np.uint16)
    drawn[10:20, 10:60] = 0x8000
    patterns = (values.view(np.uint16) & 0x0FFF) | drawn
    path = make_dicom(patterns.view(values.dtype), BitsStored=12, HighBit=11)
    data = pydicom.dcmread(path)
    data.add_new((0x6000, 0x0100), "US", 16)
    data.add_new((0x6000, 0x0102), "US", 15)
    data.save_as(path)
    mammogram = read_mammogram(path)
    plain = read_mammogram(make_dicom(values, name="b.dcm", BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(mammogram.pixels, plain.pixels)
    assert mammogram.notes == ("an overlay in unused bits of the pixels was removed",)


def test_an_overlay_beside_the_pixels_is_not_drawn(make_dicom: Any) -> None:
    path = make_dicom()
    plain = read_mammogram(path).pixels
    data = pydicom.dcmread(path)
    data.add_new((0x6000, 0x0010), "US", 96)
    data.add_new((0x6000, 0x0011), "US", 80)
    data.add_new((0x6000, 0x0100), "US", 1)
    data.add_new((0x6000, 0x0102), "US", 0)
    data.add_new((0x6000, 0x3000), "OW", bytes([0xFF]) * 960)
    data.save_as(path)
    np.testing.assert_array_equal(read_mammogram(path).pixels, plain)


def test_values_in_the_high_bits_are_moved_down(make_dicom: Any) -> None:
    path = make_dicom(make_dicom.breast << 4, BitsStored=12, HighBit=15)
    mammogram = read_mammogram(path)
    np.testing.assert_array_equal(mammogram.pixels, read_mammogram(make_dicom(name="b.dcm")).pixels)
    assert any("High Bit" in note for note in mammogram.notes)
    # Many writers state 15 though values lie low: nothing is moved then.
    lying = read_mammogram(make_dicom(BitsStored=12, HighBit=15, name="c.dcm"))
    np.testing.assert_array_equal(lying.pixels, mammogram.pixels)
    assert lying.notes == ()


def test_values_beyond_the_stored_bits_are_kept(make_dicom: Any) -> None:
    deep = make_dicom.breast * 4
    mammogram = read_mammogram(make_dicom(deep, BitsStored=12, HighBit=11))
    honest = read_mammogram(make_dicom(deep, BitsStored=14, HighBit=13, name="b.dcm"))
    np.testing.assert_array_equal(mammogram.pixels, honest.pixels)
    assert any("Bits Stored says 12, yet values have 14 bits" in note for note in mammogram.notes)


def test_signs_that_are_not_repeated_are_read(make_dicom: Any) -> None:
    values = _values(make_dicom.breast, "i12")
    bare = (values.view(np.uint16) & 0x0FFF).view(np.int16)
    mammogram = read_mammogram(make_dicom(bare, BitsStored=12, HighBit=11))
    repeated = read_mammogram(make_dicom(values, BitsStored=12, HighBit=11, name="b.dcm"))
    np.testing.assert_array_equal(mammogram.pixels, repeated.pixels)


def test_elements_that_say_the_obvious_may_be_missing(make_dicom: Any) -> None:
    path = make_dicom()
    plain = read_mammogram(path).pixels
    data = pydicom.dcmread(path)
    for keyword in ("SamplesPerPixel", "PixelRepresentation", "PhotometricInterpretation", "HighBit"):
        delattr(data, keyword)
    data.save_as(path)
    np.testing.assert_array_equal(read_mammogram(path).pixels, plain)


def test_transfer_syntaxes_that_pydicom_does_not_know_are_named(make_dicom: Any) -> None:
    path = make_dicom(syntax=f"{JPEG}100", frame=bytes(100))
    path.write_bytes(path.read_bytes().replace(f"{JPEG}100".encode(), f"{JPEG}110".encode()))  # JPEG XL
    with pytest.raises(InputError, match=r"Transfer Syntax UID.*1\.2\.840\.10008\.1\.2\.4\.110"):
        read_mammogram(path)


def test_8_bit_values_of_big_endian_files_in_bytes(make_dicom: Any) -> None:
    values = _values(make_dicom.breast, "u8")
    path = make_dicom(values, syntax=f"{ROOT}.1")
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = f"{ROOT}.2"
    data["PixelData"].VR = "OB"
    pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(_decoded(path), values)
