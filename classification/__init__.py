"""Classifiers of whole mammograms, of patches and of lesions, and heatmaps made with them."""

import mammodet.networks  # noqa: F401  # names a torch that does not fit torchvision
