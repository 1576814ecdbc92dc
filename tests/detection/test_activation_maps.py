"""Heat lies on the evidence of a box: a detector whose evidence is known is built, and asked."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from mammodet.datasets.heatmap import peak
from mammodet.detection.activation_maps import box_heat, image_heat
from mammodet.detection.feature_maps import Look
from mammodet.detection.model import DetectorConfig, build_detector, set_thresholds

BENIGN, MALIGNANT = 1, 2
LESION, OTHER, DISTRACTOR = (12, 10), (30, 25), (40, 8)  # row, column of P2
BOX = [24.0, 32.0, 56.0, 64.0]  # around the lesion: pixels 40, 48
SMALL_BOX = [36.0, 44.0, 44.0, 52.0]  # of the size of an anchor of P2


class Evidence(nn.Module):
    """Malignant as far as channel 0 is bright in the box, benign as far as channel 1 is."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        mean = pooled.mean(dim=(2, 3))  # [N, C]
        background = torch.full_like(mean[:, :1], 1.0)
        logits = torch.cat([background, self.gain * mean[:, 1:2], self.gain * mean[:, :1]], dim=1)
        return logits, torch.zeros(len(pooled), 12)


@pytest.fixture
def model(small_config: DetectorConfig) -> FasterRCNN:
    built = build_detector(small_config).eval()
    built.roi_heads.box_head, built.roi_heads.box_predictor = nn.Identity(), Evidence(30.0)
    set_thresholds(built, score=0.05)
    return built


def see(model: FasterRCNN, *proposals: list[float], brightness: float = 4.0) -> Look:
    """Return what the detector sees of an image of 160 x 256 pixels whose pyramid is known."""
    levels = {str(k): torch.zeros(1, 3, 64 >> k, 40 >> k) for k in range(4)}
    levels["pool"] = torch.zeros(1, 3, 4, 3)
    levels["0"][0, 0][LESION], levels["0"][0, 0][OTHER] = brightness, 4.0
    levels["0"][0, 1, LESION[0] + 3, LESION[1] + 2] = 4.0
    levels["0"][0, 2][DISTRACTOR] = 50.0
    given = torch.tensor(proposals)
    found: dict[str, list[Tensor]] = {name: [] for name in ("boxes", "labels", "scores", "proposals")}
    with torch.no_grad():
        for one in given:
            (alone,), _ = model.roi_heads(levels, [one[None]], [(256, 160)])
            for name, values in alone.items():
                found[name].append(values)
            found["proposals"].append(one.expand(len(alone["boxes"]), 4))
    return Look({}, levels, (256, 160), **{name: torch.cat(values) for name, values in found.items()})


def index_of(seen: Look, label: int) -> int:
    return seen.labels.tolist().index(label)


def test_the_hottest_cell_is_the_evidence_of_the_class(model: FasterRCNN):
    seen = see(model, BOX)
    for method in ("gradcam", "hirescam"):
        malignant = box_heat(model, seen, index_of(seen, MALIGNANT), method)
        assert malignant.stride == 4 and malignant.values.shape == (64, 40)
        assert malignant.values[LESION] == malignant.values.max() == 1
        benign = box_heat(model, seen, index_of(seen, BENIGN), method)
        assert benign.values[LESION[0] + 3, LESION[1] + 2] == 1 and benign.values[LESION] == 0
        assert malignant.values[DISTRACTOR] == 0, "what no score rests on is cold, however bright"


def test_gradcam_shows_the_like_everywhere_and_hirescam_only_what_the_box_was_judged_by(model: FasterRCNN):
    seen = see(model, BOX)
    index = index_of(seen, MALIGNANT)
    assert box_heat(model, seen, index, "gradcam").values[OTHER] == pytest.approx(1)
    assert box_heat(model, seen, index, "hirescam").values[OTHER] == 0


def test_a_sure_box_is_hotter_than_a_doubtful_one_though_its_gradient_is_smaller(model: FasterRCNN):
    around_other = [84.0, 104.0, 116.0, 136.0]
    seen = see(model, BOX, around_other, brightness=16.0)
    malignant = [number for number, label in enumerate(seen.labels.tolist()) if label == MALIGNANT]
    scores = seen.scores[malignant].tolist()
    assert scores[0] > 0.99 and scores[1] < 0.8
    (heat,) = image_heat(model, seen, malignant, "hirescam")
    assert heat.values[LESION] == pytest.approx(scores[0]) and heat.values[OTHER] == pytest.approx(scores[1])


def test_heat_of_a_large_box_lies_on_the_level_that_it_was_cut_from(model: FasterRCNN):
    seen = see(model, [0.0, 0.0, 150.0, 150.0])
    seen.levels["1"][0, 0, 9, 7] = 40.0
    seen = see_again(model, seen)
    (heat,) = image_heat(model, seen, [index_of(seen, MALIGNANT)], "gradcam")
    assert heat.stride == 8 and peak(heat.values) == (7, 9)


def see_again(model: FasterRCNN, seen: Look) -> Look:
    with torch.no_grad():
        (found,), _ = model.roi_heads(seen.levels, [seen.proposals[:1]], [seen.image_size])
    return Look({}, seen.levels, seen.image_size, proposals=seen.proposals[:1].expand(2, 4), **found)


def test_eigencam_is_the_librarys_with_the_sign_that_makes_the_box_hot(model: FasterRCNN):
    seen = see(model, SMALL_BOX)
    torch.manual_seed(0)
    seen.levels["0"] += torch.randn_like(seen.levels["0"]) * 0.1
    heat = box_heat(model, seen, 0, "eigencam").values
    theirs = get_2d_projection(seen.levels["0"].numpy())[0]
    theirs = np.maximum(theirs * np.sign(theirs[11:14, 9:12].mean()), 0)
    np.testing.assert_allclose(heat, theirs / theirs.max(), atol=1e-4)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_box_is_hot_whatever_the_sign_of_its_features(model: FasterRCNN, sign: int):
    seen = see(model, SMALL_BOX)
    seen.levels["0"][0, 2][DISTRACTOR] = 0
    seen.levels["0"][0, 2, 11:14, 9:12] = sign * 9.0
    heat = box_heat(model, seen, 0, "eigencam").values
    assert heat[LESION] > 0.9 and heat[OTHER] < 0.1


def test_a_level_of_a_whole_mammogram_is_no_matter_of_cells_by_cells(model: FasterRCNN):
    seen = see(model, SMALL_BOX)
    seen.levels["0"][0, 2][LESION] = 50.0
    seen.levels["0"] = nn.functional.pad(seen.levels["0"], (0, 460, 0, 336))  # 200,000 cells
    heat = box_heat(model, seen, 0, "eigencam")
    assert heat.values.shape == (400, 500) and heat.values[LESION] > 0.9


def test_eigencam_looks_at_the_level_whose_anchors_are_of_the_size_of_the_box(model: FasterRCNN):
    seen = see(model, BOX)  # 32 pixels, as the anchors of the third level
    seen.levels["2"][0, 1, 3, 2] = 2.0
    heat = box_heat(model, seen, 0, "eigencam")
    assert heat.stride == 16 and peak(heat.values) == (2, 3)


def test_hirescam_compares_with_what_is_usual(model: FasterRCNN):
    seen = see(model, BOX)
    before = box_heat(model, seen, index_of(seen, MALIGNANT), "hirescam").values
    seen.levels["0"][0, :2] += 0.2  # everywhere, so that no place is told from another by it
    after = box_heat(model, seen, index_of(seen, MALIGNANT), "hirescam").values
    np.testing.assert_allclose(after, before, atol=0.01)


def test_the_model_is_left_as_it_was(model: FasterRCNN):
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    seen = see(model, BOX)
    image_heat(model, seen, [0], "gradcam")
    assert before == {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(level.requires_grad for level in seen.levels.values())


def test_a_box_at_the_threshold_is_explained_too(model: FasterRCNN):
    seen = see(model, BOX)
    index = index_of(seen, MALIGNANT)
    threshold = float(seen.scores[index])
    set_thresholds(model, score=threshold)
    assert box_heat(model, seen, index, "hirescam").values[LESION] == 1
    assert model.roi_heads.score_thresh == threshold


def test_heat_is_zero_when_nothing_raises_the_score(model: FasterRCNN):
    set_thresholds(model, score=0.0)
    seen = see(model, [100.0, 200.0, 140.0, 240.0])  # an empty place
    assert not box_heat(model, seen, 0, "hirescam").values.any()


def test_a_missing_package_is_one_line():
    code = (
        "import sys; sys.modules['pytorch_grad_cam'] = None\n"
        "from mammodet.tools import cli\n"
        "sys.exit(cli.main(['explain', 'x', '--model', 'm', '--out', 'o']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and "grad-cam" in ended.stderr
