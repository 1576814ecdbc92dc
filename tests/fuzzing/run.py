"""Fuzz one parser with atheris: ``python tests/fuzzing/run.py TARGET SECONDS [FOLDER]``.

The fuzzer is guided by the branches that an input reaches in ``mammodet.datasets`` and
``mammodet.evaluation``. It ends at once, and with another exit code than 0, when an input raises anything but
InputError, takes more than 10 seconds, or makes the process larger than 2 GiB; the input is then shown, and
left in FOLDER, by default a new temporary one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import atheris
from targets import TARGETS, write_tree

# Not instrumented: atheris keeps the results of comparing arrays, a few kilobytes with every input.
ARRAYS = (
    *("datasets.dicom_bits", "datasets.dicom_frame", "datasets.dicom_pixels", "datasets.dicom_window"),
    *("datasets.intensity", "datasets.masks"),
    *("evaluation.prediction_check", "evaluation.prediction_frames", "evaluation.prediction_layouts"),
)
LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=20000", "-print_final_stats=1")


def main(name: str, seconds: int, folder: str | None = None) -> None:
    """Fuzz one target; atheris ends the process."""
    target = TARGETS[name]
    work = Path(folder or tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    root = work / "root"
    write_tree(target, root)
    (work / "corpus").mkdir()
    seeds = target.seeds() if callable(target.seeds) else target.seeds
    for number, seed in enumerate(seeds):
        (work / "corpus" / str(number)).write_bytes(seed)
    # libFuzzer's dictionary: a word in quotes per line, quotes and backslashes escaped
    words = [json.dumps(word, ensure_ascii=True) for word in ("-1", *target.words)]
    (work / "words").write_text("\n".join(words) + "\n", encoding="utf-8")
    (root / target.place).write_bytes(seeds[-1])
    target.read(root)  # the seed is valid, and no import is left for the first input
    exclude = [f"mammodet.{name}" for name in ARRAYS]
    with atheris.instrument_imports(include=["mammodet.datasets", "mammodet.evaluation"], exclude=exclude):
        for module in [one for one in sys.modules if one.startswith("mammodet")]:
            del sys.modules[module]
        target.read(root)  # imports again, now instrumented: targets import inside their functions
    from mammodet.datasets.errors import InputError

    def one_input(data: bytes) -> None:
        (root / target.place).write_bytes(data)
        try:
            target.read(root)
        except InputError as error:
            assert "\n" not in str(error), "an error must be one line"

    options = [f"-max_total_time={seconds}", f"-artifact_prefix={work}/", f"-dict={work}/words", *LIMITS]
    atheris.Setup([sys.argv[0], str(work / "corpus"), *options], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
