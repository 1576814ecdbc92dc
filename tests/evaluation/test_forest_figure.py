"""The forest plot: a row per subgroup that has a number, its interval, and the number of all."""

from dataclasses import dataclass, field

from mammodet.evaluation.figures import save_figure
from mammodet.evaluation.forest_figure import forest_figure
from mammodet.evaluation.resampling import Interval


@dataclass
class Row:
    group: str
    value: str
    number: float | None
    interval: tuple[float, float] | None = None
    classes: str = "all"
    lesions: int = 12
    numbers: dict = field(init=False)
    intervals: dict = field(init=False)

    def __post_init__(self):
        self.numbers = {"AP50": self.number}
        self.intervals = {} if self.interval is None else {"AP50": Interval(*self.interval, "bootstrap")}


ROWS = [
    Row("size in mm", "below 5", 0.31, (0.2, 0.45)),
    Row("size in mm", "from 5", 0.62),
    Row("view", "CC", None),
    Row("view", "CC", 0.9, classes="malignant"),
    Row("manufacturer", "A $very$ long name of a company that builds machines", 0.5, (0.5, 0.5)),
]


def test_every_number_is_drawn_where_it_is_with_its_interval(tmp_path):
    figure = forest_figure(ROWS, 0.55)
    axes = figure.axes[0]
    points = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() == "s"]
    assert points == [0.31, 0.62, 0.5]
    spans = [segment[:, 0].tolist() for one in axes.collections for segment in one.get_segments()]
    assert spans == [[0.2, 0.45], [0.5, 0.5]]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels[:3] == ["size in mm", "below 5 (12)", "from 5 (12)"] and labels[3] == "manufacturer"
    assert len(labels) == 5 and labels[4].endswith("… (12)")
    save_figure(figure, tmp_path / "forest.png")


def test_without_a_number_there_is_no_figure():
    assert forest_figure([], 0.5) is None
    assert forest_figure([Row("view", "CC", None)], None) is None
