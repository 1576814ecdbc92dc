"""What a classifier tells apart: labels to outputs, and what is refused."""

from dataclasses import asdict
from json import dumps, loads

import pytest

from mammodet.classification.task import Task
from mammodet.datasets.errors import InputError


def test_labels_lead_to_outputs_and_others_are_left_out():
    task = Task("patches", {"normal": ("normal", "mass"), "suspicious": ("benign", "malignant")})
    assert [task.index(label) for label in ("normal", "mass", "benign", "malignant", "other", None)] == [
        *(0, 0, 1, 1, None, None)
    ]
    assert task.names == ("normal", "suspicious") and task.score_class == "suspicious"
    assert Task("patches", task.classes, positive="normal").score_class == "normal"


def test_a_task_goes_through_json_unchanged():
    task = Task("lesions", {"dcis": ("in situ",), "invasive": ("invasive",)}, subtype="pathotype")
    assert Task.from_dict(loads(dumps(asdict(task)))) == task


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"source": "films"}, "task.source"),
        ({"classes": {"a": ("x",)}}, "task.classes"),
        ({"classes": {"a": ("x",), "b": ("x",)}}, "task.classes"),
        ({"classes": {"a": ("x",), "b": ()}}, "task.classes"),
        ({"positive": "other"}, "task.positive"),
        ({"source": "lesions"}, "task.subtype"),
        ({"subtype": "er"}, "task.subtype"),
        ({"margin": -1.0}, "task.margin"),
        ({"smallest": 0}, "task.smallest"),
    ],
)
def test_what_is_no_task_is_refused(options, field):
    with pytest.raises(InputError) as told:
        Task(**options)
    assert told.value.field == field
