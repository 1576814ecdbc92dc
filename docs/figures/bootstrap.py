"""The picture of the bootstrap: the AUC of images in resamples of patients, and in resamples of images.

python docs/figures/bootstrap.py docs/images/bootstrap.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pictures import BLUE, ORANGE, save_picture

from mammodet.datasets.figure_style import STYLE
from mammodet.evaluation.auc import WeightedAuc
from mammodet.evaluation.resampling import PatientResamples

PATIENTS, VIEWS, RESAMPLES = 60, 4, 4000


def main() -> None:
    """Resample the same images by patient and one by one."""
    patients, truth, scores = _study()
    auc = WeightedAuc(truth, scores)
    value = float(auc(np.ones((1, len(truth))))[0])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.8), layout="constrained")
        axes = figure.subplots()
        bins = np.linspace(0.6, 1, 61).tolist()
        ways = {
            "by patient": (patients.tolist(), BLUE),
            "by image, too narrow": (list(range(len(truth))), ORANGE),
        }
        for row, (name, (owners, colour)) in enumerate(ways.items()):
            resamples = PatientResamples(owners, RESAMPLES)
            drawn = resamples.values(auc)
            interval = resamples.interval(drawn)
            assert interval.low is not None and interval.high is not None
            low, high = interval.low, interval.high
            axes.hist(
                drawn,
                bins,
                histtype="step" if row else "stepfilled",
                color=colour,
                alpha=None if row else 0.35,
                linewidth=2,
            )
            height = -60 - 75 * row
            axes.plot(
                [low, high],
                [height, height],
                "|-",
                color=colour,
                linewidth=3,
                markersize=9,
                markeredgewidth=3,
            )
            axes.text(
                high + 0.008,
                height,
                f"{name}: {low:.3f} to {high:.3f}",
                color=colour,
                va="center",
                weight="bold",
            )
        axes.axvline(value, color="black", linewidth=1.2)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(
            xlim=(0.6, 1.03),
            xlabel=f"AUC of {len(truth)} images of {PATIENTS} patients; line: all of them, {value:.3f}",
            ylabel=f"Of {RESAMPLES} resamples",
        )
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks(np.arange(0.6, 1.01, 0.1))
        axes.set_yticks([0, 200, 400])
        save_picture(figure, Path(sys.argv[1]))


def _study() -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]]:
    """Return patient, truth and score of every image; the images of a patient resemble each other."""
    rng = np.random.default_rng(0)
    ill = rng.random(PATIENTS) < 0.4
    shared, own = rng.normal(0, np.sqrt(0.6), PATIENTS), rng.normal(0, np.sqrt(0.4), PATIENTS * VIEWS)
    patients = np.repeat(np.arange(PATIENTS), VIEWS)
    return patients, ill[patients], 1.2 * ill[patients] + shared[patients] + own


if __name__ == "__main__":
    main()
