"""What every figure shares: colours, style, and how a figure becomes a file."""

from __future__ import annotations

import io
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["Figure"]

# Okabe and Ito's palette: told apart with any colour vision.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#C9B700", "#7F7F7F",
)  # fmt: skip
#: What a replay is drawn in, whatever else is in the figure.
OF_REPLAY = {"uniform": GREY, "per": "black", "amper-k": YELLOW, "amper-fr": BLUE, "amper-fr-linear": GREEN}
COLOURS = (BLUE, SKY, GREEN, YELLOW, ORANGE, RED, PURPLE, GREY)
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "axes.axisbelow": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "amper",
}


def svg(figure: Figure) -> str:
    """Return a figure as an <svg> element, the same bytes every time."""
    buffer = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save_png(figure: Figure, path: str) -> None:
    """Write a figure as PNG."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=160)
