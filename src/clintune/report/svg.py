"""Figures as inline SVG: equal input gives equal text; everybody can distinguish the colours."""

import io
import re
import warnings
from collections.abc import Callable
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure

from clintune.core.text import visible

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Palette of Okabe and Ito (2008)."""
INK, FAINT = "#22303c", "#8a97a3"
MOST_POINTS = 400
"""Points of a line that are kept: nobody sees more."""
STYLE: dict[Any, Any] = {
    "axes.prop_cycle": cycler(color=COLORS),
    "font.family": ["sans-serif"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6eaee",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "clintune",
}


def render(
    draw: Callable[[Figure], None], size: tuple[float, float], prefix: str, title: str
) -> str:
    """Render a figure as an SVG element whose ids begin with `prefix`: many fit into one page.

    What is named in it may hold any character: controls and directions, which XML or a reader would
    obey, are written out, and a browser finds the glyphs of others. One too long for the figure
    cramps it.
    """
    # Draw.
    buffer = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        for harmless in (r"Glyph \d+ .* missing from font", "constrained_layout not applied"):
            warnings.filterwarnings("ignore", harmless, UserWarning)
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        undated = {"Date": None, "Creator": None}
        figure.savefig(buffer, format="svg", transparent=True, metadata=undated)

    # Keep the element alone, with ids of its own and the width of the page.
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)

    # Say what it shows to those who cannot see it.
    named = f'><title id="{prefix}-title">{escape(title, quote=False)}</title>'
    text = text.replace("<svg", f'<svg role="img" aria-labelledby="{prefix}-title"', 1)
    text = text.replace(">", named, 1)
    return "\n".join(map(visible, text.split("\n")))


def kept_points(number: int) -> list[int]:
    """Return which of a line's points are kept, the first and the last among them."""
    return sorted(set(np.linspace(0, number - 1, MOST_POINTS).round().astype(int).tolist()))
