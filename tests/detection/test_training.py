"""The LightningModule: schedules, validation thresholds, and that it learns."""

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.data import LesionDataset, collate
from mammodet.detection.training import DetectorModule
from mammodet.networks.optim import OptimConfig, learning_rate_factor


def test_warm_up_rises_then_the_schedule_holds():
    constant = learning_rate_factor(OptimConfig(warmup_steps=10, schedule="constant"), 100, 10)
    assert constant(0) == pytest.approx(1e-3)
    assert constant(5) == pytest.approx(0.5005)
    assert constant(10) == constant(99) == 1
    step = learning_rate_factor(
        OptimConfig(warmup_steps=0, schedule="step", step_epochs=2, gamma=0.3), 100, 10
    )
    assert [step(one) for one in (0, 19, 20, 40)] == pytest.approx([1, 1, 0.3, 0.09])
    cosine = learning_rate_factor(OptimConfig(warmup_steps=20, schedule="cosine"), 100, 10)
    assert [cosine(one) for one in (20, 60, 100)] == pytest.approx([1, 0.5, 0])


def test_a_short_run_is_not_all_warm_up():
    factor = learning_rate_factor(OptimConfig(warmup_steps=500, schedule="constant"), 30, 30)
    assert factor(15) == 1


def _trainer(tmp_path, steps):
    return lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )


def test_the_loss_falls_and_validation_sees_weak_boxes_in_the_source_frame(tmp_path, coco, small_config):
    lightning.seed_everything(0, verbose=False)
    loader = DataLoader(LesionDataset(coco, Recipe(crop_margin_px=4)), batch_size=3, collate_fn=collate)
    seen = []

    def evaluate(results):
        seen.append(results)
        return {"AP": 0.25, "AP50": 0.5}

    optim = OptimConfig("adamw", lr=1e-3, warmup_steps=0, schedule="constant")
    module = DetectorModule(small_config, optim, evaluate=evaluate, validation_score=0.0)
    losses = []
    log = module.log
    module.log = lambda name, value, **more: (
        losses.append(float(value)) if name == "train/loss" else None,
        log(name, value, **more),
    )
    trainer = _trainer(tmp_path, 12)
    trainer.fit(module, loader, loader)
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    assert trainer.callback_metrics["val/AP50"] == 0.5
    assert {one["image_id"] for one in seen[-1]} <= {1, 2, 3}
    assert all(one["bbox"][0] + one["bbox"][2] <= 120 for results in seen for one in results)
    assert module.model.roi_heads.score_thresh == small_config.score_threshold


def test_a_loss_that_is_no_number_stops_with_image_ids_and_remedy(coco, small_config):
    module = DetectorModule(small_config, OptimConfig())
    module.log = lambda *_, **__: None
    with torch.no_grad():
        module.model.roi_heads.box_predictor.cls_score.weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"step 0: loss_classifier is nan.*\[1\].*optim\.lr"):
        module.training_step(collate([LesionDataset(coco, Recipe())[0]]), 0)


@pytest.mark.parametrize("options", [{"lr": 0}, {"warmup_steps": -1}, {"gamma": 0}])
def test_impossible_options_are_named(options):
    with pytest.raises(InputError, match=f"optim.{next(iter(options))}"):
        OptimConfig(**options)
