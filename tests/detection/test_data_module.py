"""The loaders of a training: their reading processes end with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mammodet.datasets.coco import Coco, write_coco

PROGRAM = """
import builtins, sys
from mammodet.datasets.coco import read_coco
from mammodet.datasets.standardise import Recipe
from mammodet.detection.augment import AugmentConfig
from mammodet.detection.crops import TrainingInput
from mammodet.detection.data_module import LesionData

data = LesionData(
    read_coco(sys.argv[1]), None, Recipe(), augment=AugmentConfig(), window=TrainingInput(),
    hard_negatives={}, lesion_share=None, batch_size=1, workers=2, seed=0,
)
builtins.kept = iter(data.train_dataloader())  # outlives the module, as what a traceback holds does
next(builtins.kept)
if sys.argv[2] == "error":
    raise SystemExit(2)
"""


@pytest.mark.parametrize(("how", "code"), [("end", 0), ("error", 2)])
@pytest.mark.long
def test_a_process_ends_although_its_readers_leave_sigterm_to_it(
    coco: Coco, tmp_path: Path, how: str, code: int
):
    path = write_coco(coco, coco.path.parent / "again.json")
    command = [sys.executable, "-c", PROGRAM, str(path), how]
    done = subprocess.run(command, timeout=120, check=False, capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr
