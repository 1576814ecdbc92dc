"""Faster R-CNN on mammograms: model, data, training, inference."""
