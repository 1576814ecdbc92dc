"""Classifiers of whole mammograms and of patches, and heatmaps made with them."""
