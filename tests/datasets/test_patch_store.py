"""The patch store: what was put in comes out, in every process, after every kill, and no patient is in two splits."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.patch_records import ImagePatches, Window, encode
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.patch_writer import PatchWriter

SETTINGS = {"storage": "stored", "depth": 16, "size": 16}
GROUPS = [["normal"], ["benign", "malignant"]]


def pixels_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((60, 80), dtype=np.float32)


def image(number: int, split: str = "train", patient: str | None = None, **more: Any) -> ImagePatches:
    """Return an image of 80 x 60 px with two normal patches, one benign and one malignant."""
    labels = ("normal", "normal", "benign", "malignant")
    windows = tuple(Window(3 + 15 * index, 2 + index, 16, label) for index, label in enumerate(labels))
    pixels = pixels_of(number)
    content = tuple(encode(pixels[one.y : one.y + 16, one.x : one.x + 16], 16) for one in windows)
    values = {"geometry": Geometry(80, 60), "windows": windows, "pixels": content, **more}
    return ImagePatches(f"set/{number}", f"{number}.png", patient or f"set/patient {number}", split, **values)


def fill(path: Path, count: int = 5, turned: tuple[str, ...] = ()) -> PatchStore:
    with PatchWriter(path, SETTINGS, turned) as writer:
        for number in range(count):
            writer.add(image(number))
    return PatchStore(path)


def test_pixels_and_what_is_known_of_them_come_back(tmp_path: Path) -> None:
    store = fill(tmp_path / "a.sqlite")
    assert store.counts() == {
        ("train", "benign"): 5,
        ("train", "malignant"): 5,
        ("train", "normal"): 10,
    }
    for patch in store.patches():
        number = int(patch.file.partition(".")[0])
        window = pixels_of(number)[patch.y : patch.y + 16, patch.x : patch.x + 16]
        np.testing.assert_allclose(store.pixels([patch.id])[0], window, atol=0.5 / 65535 + 1e-7)
        assert patch.image == f"set/{number}" and patch.patient == f"set/patient {number}"
        assert patch.frame == (patch.x, patch.y, 16, 16)
        assert store.find(patch.image, (patch.x, patch.y, 16, 16)) == patch == store.patch(patch.id)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.sqlite",
        "a.sqlite-shm",
        "a.sqlite-wal",
    ]
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]  # one file, to copy and to keep


def test_eight_bits_are_rounded_to_eight_bits(tmp_path: Path) -> None:
    shown = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    with PatchWriter(tmp_path / "a.sqlite", {**SETTINGS, "depth": 8}) as writer:
        writer.add(image(0, windows=(Window(0, 0, 16, "normal"),), pixels=(encode(shown, 8),)))
    np.testing.assert_allclose(PatchStore(tmp_path / "a.sqlite").pixels([1])[0], shown, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_boxes_come_back_from_every_patch(data: st.DataObject) -> None:
    geometry = Geometry(80, 60).crop(5, 4, 70, 50)
    if data.draw(st.booleans()):
        geometry = geometry.scale(data.draw(st.integers(20, 99)), data.draw(st.integers(20, 99)))
    geometry = geometry.flip() if data.draw(st.booleans()) else geometry
    x = data.draw(st.integers(0, geometry.width - 16))
    y = data.draw(st.integers(0, geometry.height - 16))
    boxes = np.array(data.draw(st.lists(st.tuples(*[st.floats(-50, 150)] * 4), max_size=3))).reshape(-1, 4)
    boxes = np.concatenate([boxes.reshape(-1, 2, 2).min(axis=1), boxes.reshape(-1, 2, 2).max(axis=1)], axis=1)
    windows = (Window(x, y, 16, "benign"),)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.sqlite")
        with PatchWriter(path, SETTINGS, ("train",)) as writer:
            writer.add(image(0, geometry=geometry, windows=windows, pixels=(bytes(512),)))
        store = PatchStore(path)
        found = list(store.patches())
        store.close()
    assert [one.turn for one in found] == [0, 1, 2, 3]
    for patch in found:
        there = patch.geometry.boxes_to_model(boxes)
        np.testing.assert_allclose(patch.geometry.boxes_to_source(there), boxes, atol=1e-3)
        whole = geometry.boxes_to_source([[x, y, x + 16, y + 16]])[0]
        np.testing.assert_allclose(
            patch.frame, [whole[0], whole[1], whole[2] - whole[0], whole[3] - whole[1]]
        )


def test_turned_copies_share_pixels_and_move_with_their_boxes(tmp_path: Path) -> None:
    store = fill(tmp_path / "a.sqlite", 1, ("train",))
    source = pixels_of(0)
    assert sum(store.counts().values()) == 16
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM pixels").fetchone() == (4,)
    for patch in store.patches():
        shown = store.pixels([patch.id])[0]
        np.testing.assert_allclose(shown, patch.geometry.pixels_to_model(source), atol=1e-5)
        row, column = np.unravel_index(shown.argmax(), shown.shape)
        x, y = patch.geometry.boxes_to_source([[column, row, column + 1, row + 1]])[0][:2].astype(int)
        assert source[y, x] == pytest.approx(shown.max(), abs=1e-4)


def test_batches_follow_from_seed_epoch_and_step_alone(tmp_path: Path) -> None:
    store = fill(tmp_path / "a.sqlite", 20)
    draws = store.draws("train", GROUPS, seed=3)
    ordered = [store.batch(draws, 16, 1, step) for step in range(6)]
    for step in (4, 0, 5):
        again = store.batch(PatchStore(tmp_path / "a.sqlite").draws("train", GROUPS, seed=3), 16, 1, step)
        np.testing.assert_array_equal(again.ids, ordered[step].ids)
        np.testing.assert_array_equal(again.pixels, ordered[step].pixels)
    for batch in ordered:
        labels = [store.patch(one).label for one in batch.ids]
        assert [label != "normal" for label in labels] == batch.groups.astype(bool).tolist()
        assert batch.groups.sum() == 8
        np.testing.assert_array_equal(batch.pixels, store.pixels(batch.ids.tolist()))


def read_batch(store: PatchStore, step: int) -> tuple[list[int], float]:
    batch = store.batch(store.draws("train", GROUPS, seed=3), 16, 0, step)
    return batch.ids.tolist(), float(batch.pixels.sum())


READERS = """
import multiprocessing, sys
from mammodet.datasets.patch_store import PatchStore
if __name__ == "__main__":
    path, way, groups = sys.argv[1], sys.argv[2], [["normal"], ["benign", "malignant"]]
    store = PatchStore(path)
    draws = store.draws("train", groups, seed=3)
    def told(batch):
        return batch.ids.tolist(), float(batch.pixels.sum())
    own = [told(store.batch(draws, 16, 0, step)) for step in range(12)]  # open when others start
    with multiprocessing.get_context(way).Pool(3) as pool:
        drawn = pool.starmap(store.batch, [(draws, 16, 0, step) for step in range(12)])
    assert list(map(told, drawn)) == own
    assert [told(store.batch(draws, 16, 0, step)) for step in range(12)] == own
    print("same")
"""


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_other_processes_read_the_same_batches(tmp_path: Path, way: str) -> None:
    if way not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {way} here")
    fill(tmp_path / "a.sqlite", 20).close()
    (tmp_path / "readers.py").write_text(READERS)
    # A process of its own: what forks from a test run has the threads, locks and signals of all tests before.
    words = [sys.executable, "-B", str(tmp_path / "readers.py"), str(tmp_path / "a.sqlite"), way]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "same"), ended.stderr


def _read_on(store: PatchStore, queue: Any) -> None:
    process = getattr(store._local, "process", None)
    read_batch(store, 0)
    queue.put((process, os.getpid(), store._local.process))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_process_opens_the_file_for_itself(tmp_path: Path) -> None:
    store = fill(tmp_path / "a.sqlite")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_read_on, args=(store, queue), daemon=True)
    child.start()
    inherited, own, used = queue.get(timeout=60)
    child.join(60)
    assert inherited == os.getpid() != own == used
    assert child.exitcode == 0
    assert pickle.loads(pickle.dumps(store)).counts() == store.counts()


def test_a_large_batch_is_read_as_a_small_one(tmp_path: Path) -> None:
    """Large ones are read by several threads."""
    store = fill(tmp_path / "a.sqlite", 40, ("train",))
    draws = store.draws("train", GROUPS, seed=3)
    whole = store.batch(draws, 240, 0, 0)
    parts = [store.batch(draws, 12, 0, step) for step in range(20)]
    np.testing.assert_array_equal(whole.ids, np.concatenate([part.ids for part in parts]))
    np.testing.assert_array_equal(whole.pixels, np.concatenate([part.pixels for part in parts]))
    with pytest.raises(InputError, match="no such patch"):
        store.pixels([*whole.ids.tolist(), 10**9])
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]


def test_readers_go_on_while_a_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    store = fill(path, 3)
    draws = store.draws("train", GROUPS)
    before = store.batch(draws, 8, 0, 0)
    with PatchWriter(path, SETTINGS) as writer:
        for number in range(10, 20):
            writer.add(image(number))
            np.testing.assert_array_equal(store.batch(draws, 8, 0, 0).ids, before.ids)
    assert store.counts()["train", "normal"] == 26


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_patch_store import SETTINGS, PatchWriter, image
with PatchWriter(Path(sys.argv[1]), SETTINGS, ("train",)) as writer:
    for number in range(100_000):
        writer.add(image(number))
        print(number, flush=True)
"""


def test_a_killed_writer_loses_at_most_its_last_image(tmp_path: Path) -> None:
    path, here = tmp_path / "a.sqlite", str(Path(__file__).parent)
    for wait in (0.05, 0.21, 0.4):
        path.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), here], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "0\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        told = ["0", *process.communicate()[0].split("\n")]
        said = max(int(line) for line in told if line and line.isdigit())  # the last line may be cut
        store = PatchStore(path)
        patches = list(store.patches())
        images = {patch.image for patch in patches}
        assert images == {f"set/{number}" for number in range(len(images))}
        # What was told was committed; at most one more was, before it could be told.
        assert said + 1 <= len(images) <= said + 2
        assert len(patches) == 16 * len(images)  # whole images only
        assert store.counts()["train", "normal"] == 8 * len(images)
        draws = store.draws("train", GROUPS)
        assert store.batch(draws, 32, 0, 0).pixels.shape == (32, 16, 16)
        store.close()
        with PatchWriter(path, SETTINGS, ("train",)) as writer:  # and it can be added to
            with pytest.raises(InputError, match="in the store already"):
                writer.add(image(0))
            writer.add(image(len(images)))
        for rest in ("-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)


assignments = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["train", "val", ""])), max_size=12)


@settings(max_examples=25, deadline=None)
@given(assignments)
def test_no_patient_is_ever_in_two_splits(wanted: list[tuple[int, str]]) -> None:
    first: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.sqlite")
        with PatchWriter(path, SETTINGS) as writer:
            for number, (patient, split) in enumerate(wanted):
                added = image(number, split, f"set/patient {patient}")
                if first.setdefault(patient, split) == split:
                    writer.add(added)
                    continue
                with pytest.raises(InputError, match=f"patient {patient}.*mammodet split"):
                    writer.add(added)
                with pytest.raises(InputError, match="already"):
                    writer.claim([("set/someone new", "test"), (added.patient, split)])
        store = PatchStore(path)
        splits: dict[str, set[str]] = {}
        for patch in store.patches():
            splits.setdefault(patch.patient, set()).add(patch.split)
        store.close()
    assert splits == {f"set/patient {patient}": {split} for patient, split in first.items()}


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    twice = (Window(1, 1, 16, "normal"), Window(1, 1, 16, "benign"))
    with PatchWriter(path, SETTINGS) as writer:
        with pytest.raises(InputError, match="two windows at one place"):
            writer.add(image(0, windows=twice, pixels=(bytes(512), bytes(512))))
        assert writer.files() == {}
        writer.add(image(0))
        writer._connection.execute("PRAGMA max_page_count = 12")
        with pytest.raises(InputError, match=r"full.*free space"):
            for number in range(1, 500):
                writer.add(image(number))
        held = len(writer.files())
    assert sum(PatchStore(path).counts().values()) == 4 * held


def test_other_settings_another_file_or_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    fill(path).close()
    with pytest.raises(InputError, match=r"a\.sqlite: size: was made with 16 \(found 32\)"):
        PatchWriter(path, {**SETTINGS, "size": 32})
    with pytest.raises(InputError, match="no such file"):
        PatchStore(tmp_path / "b.sqlite")
    (tmp_path / "c.sqlite").write_bytes(b"something else" * 100)
    for kind in (PatchStore, lambda one: PatchWriter(one, SETTINGS)):
        with pytest.raises(InputError, match=r"c\.sqlite: cannot be used"):
            kind(tmp_path / "c.sqlite")
    sqlite3.connect(tmp_path / "d.sqlite").execute("CREATE TABLE images (id)").connection.close()
    with pytest.raises(InputError, match=r"d\.sqlite: is no mammodet\.patches/1"):
        PatchStore(tmp_path / "d.sqlite")


def test_groups_without_patches_are_refused_by_name(tmp_path: Path) -> None:
    store = fill(tmp_path / "a.sqlite")
    with pytest.raises(InputError, match=r"'val'.*the store holds 5 benign in train"):
        store.draws("val", GROUPS)
    with pytest.raises(InputError, match="mass"):
        store.draws("train", [["normal"], ["mass"]])
    with pytest.raises(InputError, match="one group"):
        store.draws("train", [["normal"], ["normal"]])
    with pytest.raises(InputError, match="no such patch"):
        store.pixels([999])
    with pytest.raises(InputError, match="no such patch"):
        store.patch(999)


def test_a_store_is_read_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "a.sqlite").close()
    monkeypatch.setattr(os, "access", lambda *_: False)  # as root, tests may write everywhere
    store = PatchStore(tmp_path / "a.sqlite")
    assert read_batch(store, 0)[0]
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]
