"""Drawing at the printed size: SVG with text as text, PNG, byte-identical when drawn again."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from bench.files import write_atomic

ONE, TWO = 3.4, 7.0  # inches: one column of a paper, and both
SMALLEST = 7.0  # points of the smallest letters
# Okabe and Ito's colours, which the colour-blind tell apart.
BLUE, ORANGE, GREEN, PINK, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"
INK, GREY, PALE = "#1a1a1a", "#6b6b6b", "#c8c8c8"
DIVERGING, SEQUENTIAL = "PuOr", "cividis"
STYLE: dict[Any, object] = {
    "svg.hashsalt": "rrg-bench",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": SMALLEST,
    "axes.titlesize": 8.0,
    "axes.titlelocation": "left",
    "axes.labelsize": SMALLEST,
    "xtick.labelsize": SMALLEST,
    "ytick.labelsize": SMALLEST,
    "legend.fontsize": SMALLEST,
    "legend.frameon": False,
    "figure.titlesize": 8.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": False,
}


def pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(STYLE)
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, stem: Path) -> list[Path]:
    """stem.svg and stem.png without dates inside; returns the PNG."""
    for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        data = io.BytesIO()
        figure.savefig(data, format=suffix, dpi=200, metadata=metadata)
        drawn = data.getvalue()
        drawn = numbered(drawn, stem.name) if suffix == "svg" else drawn
        write_atomic(stem.with_suffix(f".{suffix}"), drawn)
    pyplot().close(figure)
    return [stem.with_suffix(".png")]


def numbered(svg: bytes, name: str) -> bytes:
    """The SVG with matplotlib's hashed ids replaced by the figure's name and a number.

    They are hashes of coordinates at full precision, whose last digit may differ from one drawing
    to the next, while the drawing, at six digits, is the same.
    """
    ids = dict.fromkeys(re.findall(rb' id="([a-z]+[0-9a-f]{10})"', svg))
    new = {old: f"{name}-{i}".encode() for i, old in enumerate(ids)}
    return re.sub(rb"[a-z]+[0-9a-f]{10}", lambda found: new.get(found[0], found[0]), svg)
