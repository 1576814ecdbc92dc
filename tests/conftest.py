"""Fixtures that every room uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real mammograms and annotation files that lies beside a developer's checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MAMMODET_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"real data not there: {folder.name} (set MAMMODET_SHARED_DATA to its folder)")
    return folder
