"""Classifiers of whole mammograms, of patches and of lesions, and heatmaps made with them."""
