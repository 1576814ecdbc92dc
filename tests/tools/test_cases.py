"""What a batch says of a file that it could not do, and when it must end."""

from pathlib import Path

import pytest
import torch

from mammodet.datasets.errors import InputError
from mammodet.tools.cases import rejection

PATH = Path("exam/one.dcm")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("has no pixels", file=PATH), "exam/one.dcm: has no pixels"),
        (PermissionError(13, "Permission denied", str(PATH)), "exam/one.dcm: Permission denied"),
        (OSError("broken"), "exam/one.dcm: broken"),
        (MemoryError(), "out of memory: no detail"),
        (torch.OutOfMemoryError("tried 8 GiB\nand more"), "out of memory: tried 8 GiB"),
        (KeyError("x"), "unexpected KeyError: 'x'; please report this file"),
    ],
)
def test_a_reason_is_one_line_that_names_what_failed(error: Exception, reason: str):
    assert rejection(error, PATH) == reason


def test_a_full_disk_is_no_fault_of_the_file():
    with pytest.raises(OSError, match="No space"):
        rejection(OSError(28, "No space left on device", "scores/overlays/one.png"), PATH)
