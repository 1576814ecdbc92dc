"""What the pictures of docs/evaluation*.md share: colours for any colour vision, boxes, small files.

Not run itself; the scripts beside it import it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from mammodet.datasets.atomic import atomic_path

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "0.55"
_COLOURS = 64  # of the saved picture: line art needs no more, and the file is a third


def save_picture(figure: Figure, path: Path, *, dpi: int = 160) -> None:
    """Write a figure as a PNG of few colours, the same bytes for the same figure."""
    FigureCanvasAgg(figure)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    picture = Image.open(drawn).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def draw_image(axes: Axes, title: str, width: float, height: float) -> None:
    """Prepare ``axes`` for one image of ``width`` x ``height`` pixels, y down."""
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("0.7")


def draw_lesion(axes: Axes, bbox: Sequence[float], *, ignored: bool = False, colour: str = "black") -> None:
    """Draw a true box ``[x, y, width, height]``: thick, or thick and grey when it is ignored."""
    x, y, width, height = bbox
    colour = GREY if ignored else colour
    axes.add_patch(Rectangle((x, y), width, height, fill=False, linewidth=3.2, edgecolor=colour))


def draw_prediction(
    axes: Axes, bbox: Sequence[float], colour: str, label: str, *, dashed: bool = False, below: bool = False
) -> None:
    """Draw a predicted box ``[x, y, width, height]`` with a label above or below it."""
    x, y, width, height = bbox
    style = "dashed" if dashed else "solid"
    axes.add_patch(
        Rectangle((x, y), width, height, fill=False, linewidth=1.8, edgecolor=colour, linestyle=style)
    )
    place = y + height + 4 if below else y - 4
    axes.text(x, place, label, color=colour, weight="bold", va="top" if below else "bottom", fontsize=9)
