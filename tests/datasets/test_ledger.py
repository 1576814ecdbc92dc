"""The ledger: what is recorded stays, and what cannot be recorded is said."""

import sqlite3

import pytest

from mammodet.datasets.errors import InputError
from mammodet.datasets.ledger import Ledger, file_key


def test_what_was_recorded_is_there_again(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", "one") as ledger:
        assert ledger.get("a") is None
        ledger.record("a", {"boxes": [1, 2.5]})
        ledger.record("a", {"boxes": []})
    with Ledger(tmp_path / "ledger.sqlite", "one") as ledger:
        assert ledger.get("a") == {"boxes": []}


def test_another_fingerprint_is_refused(tmp_path):
    Ledger(tmp_path / "ledger.sqlite", "one").__exit__()
    with pytest.raises(InputError, match="another model or other options"):
        Ledger(tmp_path / "ledger.sqlite", "two")


def test_a_file_that_is_no_ledger_is_named(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(InputError, match=r"ledger\.sqlite: cannot be used"):
        Ledger(tmp_path / "ledger.sqlite", "one")


def test_a_full_disk_is_one_line(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", "one") as ledger:
        ledger._connection.execute("PRAGMA max_page_count = 4")
        with pytest.raises(InputError, match=r"full.*free space"):
            ledger.record("a", "x" * 100_000)


def test_a_ledger_that_another_run_holds_is_one_line(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", "one") as ledger:
        ledger._connection.execute("PRAGMA busy_timeout = 0")
        other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match="locked"):
            ledger.record("a", 1)
        other.close()


def test_the_key_changes_with_the_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    before = file_key(path)
    assert file_key(path) == before
    path.write_text("three")
    assert file_key(path) != before
