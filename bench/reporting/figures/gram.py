"""UAR's Figure 5: cosines within shared matrices, and the random one that it leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.figures import BLUE, DIVERGING, GREY, ORANGE, TWO, pyplot
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import dot_handle, label
from bench.reporting.figures.sealed import Arrays, holding
from bench.runs.representations import gram

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

ROWS = {"R2GenCMN": ORANGE, "UAR": BLUE}
RANDOM = "random, normal"


def draw(suite: Summary) -> Drawn | None:
    """The first rows' Gram matrices, and how the cosines of all different rows lie."""
    found = holding(suite, "gram", tuple(ROWS))
    if not found:
        return None
    shape = tuple(next(iter(found.values()))["shape"])
    control = gram(np.random.default_rng(0).normal(size=shape))
    shown: dict[str, tuple[Arrays, str]] = {
        f"{label(suite, r)}, trained": (a, ROWS[r]) for r, a in found.items()
    }
    shown[RANDOM] = (control, GREY)
    figure, axes = pyplot().subplots(
        1, len(shown) + 1, figsize=(TWO, 2.25),
        gridspec_kw={"width_ratios": [1] * len(shown) + [1.35], "wspace": 0.12},
    )  # fmt: skip
    data, spreads = [], {}
    for axis, (name, (arrays, _)) in zip(axes, shown.items(), strict=False):
        axis.imshow(arrays["gram"].astype(float), cmap=DIVERGING, vmin=-1, vmax=1)
        axis.set_title(name, pad=3)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel(
            f"first {len(arrays['gram'])} rows of\n{' x '.join(map(str, arrays['shape']))}"
        )
    for name, (arrays, colour) in shown.items():
        counts = arrays["cosines"]
        edges = np.linspace(-1, 1, len(counts) + 1)
        middle = (edges[:-1] + edges[1:]) / 2
        spreads[name] = float(np.sqrt((counts * middle**2).sum() / counts.sum()))
        axes[-1].step(middle, counts / counts.max(), color=colour, linewidth=1.0, where="mid")
        data += [{"matrix": name, "cosine": m, "pairs": int(n)}
                 for m, n in zip(middle.tolist(), counts, strict=True) if n]  # fmt: skip
    reach = min(1.0, 5 * max(spreads.values()))
    axes[-1].set(xlim=(-reach, reach), yticks=[])
    axes[-1].spines["left"].set_visible(False)
    axes[-1].set_xlabel("cosine of two different rows")
    axes[-1].set_title("all pairs of rows", pad=3)
    figure.legend(handles=[dot_handle(f"{n}: rms {s:.3f}", shown[n][1], marker="s")
                           for n, s in spreads.items()], loc="lower right", ncols=3)  # fmt: skip
    figure.suptitle(_title(spreads), x=0.01, y=0.985, ha="left", va="top")
    figure.subplots_adjust(left=0.015, right=0.985, top=0.80, bottom=0.27)
    return Drawn(figure, data)


def _title(spreads: dict[str, float]) -> str:
    """The spread of the cosines beside a random matrix's: what "nearly orthogonal" is worth."""
    first = next(iter(spreads))
    ratio = spreads[first] / spreads[RANDOM]
    word = (
        "as near to orthogonal as"
        if 0.9 <= ratio <= 1.1
        else ("nearer to orthogonal than" if ratio < 1 else "farther from orthogonal than")
    )
    return f"{first.split(',')[0]}'s matrix is {word} a random one of its shape"
