"""What a training prints: once, however many processes train together."""

from __future__ import annotations

from lightning.pytorch.utilities.rank_zero import rank_zero_only


def is_first() -> bool:
    """Tell whether this is the only process of the training, or the first of several."""
    return getattr(rank_zero_only, "rank", 0) == 0


def say(line: str) -> None:
    """Print once, however many processes train together."""
    if is_first():
        print(line, flush=True)
