"""Faster R-CNN on mammograms: model, data, training, inference."""

import mammodet.networks  # noqa: F401  # names a torch that does not fit torchvision
