"""What networks of detection and classification share: how they start, train, stop, go on, and are kept."""

from mammodet.datasets.errors import InputError

try:
    import torchvision
except (RuntimeError, ImportError) as error:
    # torchvision states only a lower bound on torch, so pip installs pairs that cannot work together.
    raise InputError(
        f"torch and torchvision do not fit each other ({error})",
        field="installation",
        remedy="install the pair of constraints.txt: pip install -c constraints.txt torch torchvision",
    ) from None

__all__ = ["torchvision"]
