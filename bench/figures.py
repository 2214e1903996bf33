"""Drawing: figures as SVG and PNG, byte-identical when drawn again from the same numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench.store import write_atomic


def pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "rrg-bench", "font.size": 8, "axes.titlesize": 9})
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, stem: Path) -> list[Path]:
    """stem.svg and stem.png without dates inside; returns the PNG."""
    import io

    for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        data = io.BytesIO()
        figure.savefig(data, format=suffix, dpi=150, metadata=metadata)
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
