"""Time and memory of each step on made MIMIC-CXRs of several sizes, as a table with slopes.

    python tests/mimic_cxr_sizes.py RELEASES OUT [STUDIES ...]

RELEASES holds one folder a size, as `mimic_cxr_release.py RELEASES/N N` makes it; each step runs in
a process of its own. OUT gets `sizes.csv`, `sizes.md` and `sizes.png`; rows that are there stay.
"""

from __future__ import annotations

import csv
import gzip
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.data.mimic_cxr.layout import SPLIT_FILE

STUDIES = (604, 6_041, 60_413, 227_827)  # 1,000 to 377,110 images
COLUMNS = ("studies", "images", "step", "processor_s", "wall_s", "peak_mb")
LANGUAGE = ["BLEU", "ROUGE-L", "CIDEr", "diversity"]  # all but METEOR, which is Java's


def _load(**choices: object):  # type: ignore[no-untyped-def]
    from bench.data.mimic_cxr import load

    return load(Path(os.environ["BENCH_DATA"]), **choices)


def prepare() -> None:
    from bench.data.mimic_cxr import prepare as gather

    gather(Path(os.environ["BENCH_DATA"]))


def check() -> None:
    from bench.data.mimic_cxr.check import check_mimic_cxr

    print(check_mimic_cxr(Path(os.environ["BENCH_DATA"]), views="all").render())


def load() -> None:
    _load()


def vocabulary() -> None:
    from bench.data.text import vocabulary as build

    build(_load())


def _stores(data):  # type: ignore[no-untyped-def]
    from bench.data.images import open_stores
    from bench.data.resize import Resize

    images = [i for s in data.studies for i in s.images]
    rules = [Resize("squash", 12, "bilinear"), Resize("squash", 8, "bilinear")]
    return open_stores(data, images, rules, Path(os.environ["BENCH_CACHE"]))


def cache() -> None:
    """Every image of every view, two renditions of one decoding."""
    _stores(_load(views="all"))


def epoch() -> None:
    """The batches of one epoch of frontal studies, from the cache."""
    from bench.data.batches import Pixels, Split
    from bench.data.text import vocabulary as build
    from bench.model import ImageSpec

    data = _load()
    spec = ImageSpec(size=8, resize=12, views=1)
    train = data.split("train")
    views = Pixels.open(data, train, spec, True, Path(os.environ["BENCH_CACHE"]))
    split = Split(data, train, build(data), data.max_length, views)
    for step in range(len(train) // 16):
        split.training_batch(step, 16, 0, 0.0, "cpu")


def nearest() -> None:
    """The nearest image's floor on as many pictures as there are frontal studies."""
    from baselines.floors import _nearest, _standardised

    data, rng = _load(), np.random.default_rng(0)
    train = rng.integers(0, 256, (len(data.split("train")), 1, 32, 32), dtype=np.uint8)
    query = rng.integers(0, 256, (len(data.split("test")), 1, 32, 32), dtype=np.uint8)
    _nearest(train, _standardised(query))


def _score(split: str, **choices: object) -> None:
    from bench.metrics.scoring import score

    data = _load(**choices)
    studies = data.split(split)
    reports = {s.id: studies[i * 7 % len(studies)].report for i, s in enumerate(studies)}
    score(reports, data, split, LANGUAGE)


def score_test() -> None:
    _score("test")


def score_train() -> None:
    _score("train", views="all", items="images")


STEPS: dict[str, Callable[[], None]] = {
    "prepare": prepare,
    "load": load,
    "check, all views": check,
    "vocabulary": vocabulary,
    "image cache, all views": cache,
    "an epoch's batches": epoch,
    "nearest image": nearest,
    "score test": score_test,
    "score train, by image": score_train,
}


def measure(releases: Path, out: Path, sizes: list[int]) -> None:
    path = out / "sizes.csv"
    out.mkdir(parents=True, exist_ok=True)
    done = _read(path)
    for size in sizes:
        for step in STEPS:
            if any(r["studies"] == str(size) and r["step"] == step for r in done):
                continue
            done.append(_one(releases / str(size), out, size, step))
            _write(path, done)
            print(done[-1], flush=True)


def _one(release: Path, out: Path, size: int, step: str) -> dict[str, str]:
    """One step in a fresh process, which reports its own use and its children's."""
    environment = {**os.environ, "BENCH_DATA": str(release), "BENCH_CACHE": str(out / "cache")}
    command = [sys.executable, __file__, "--step", step]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{step} on {size}: {done.stderr[-2000:]}")
    figures = done.stdout.strip().split("\n")[-1].split()
    return dict(zip(COLUMNS, [str(size), _images(release), step, *figures], strict=True))


def _images(release: Path) -> str:
    with gzip.open(release / "mimic_cxr" / SPLIT_FILE) as file:
        return str(sum(1 for _ in file) - 1)  # rows but the header


def _step(name: str) -> None:
    begun = time.monotonic()
    STEPS[name]()
    own, others = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    used = sum(u.ru_utime + u.ru_stime for u in (own, others))
    peak = max(own.ru_maxrss, others.ru_maxrss) / 1e3
    print(f"{used:.2f} {time.monotonic() - begun:.2f} {peak:.0f}")


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# --- table and plot ------------------------------------------------------------------------------


def table(out: Path) -> str:
    """Processor seconds and peak memory by size, and the slope between the two largest sizes."""
    rows = _read(out / "sizes.csv")
    images = sorted({int(r["images"]) for r in rows})
    lines = ["| step | " + " | ".join(f"{n:,} images" for n in images) + " | slope |"]
    lines.append("|" + "---|" * (len(images) + 2))
    for step in STEPS:
        found = {int(r["images"]): r for r in rows if r["step"] == step}
        cells = [
            f"{float(found[n]['processor_s']):.1f} s, {float(found[n]['peak_mb']):,.0f} MB"
            if n in found
            else "–"
            for n in images
        ]
        lines.append(f"| {step} | {' | '.join(cells)} | {_slope(found)} |")
    return "\n".join(lines) + "\n"


def _slope(found: dict[int, dict[str, str]]) -> str:
    """Exponent of processor time in the number of images, between the two largest sizes."""
    if len(found) < 2:
        return "–"
    (few, less), (many, more) = sorted((n, float(r["processor_s"])) for n, r in found.items())[-2:]
    return f"{np.log(more / less) / np.log(many / few):.2f}"


def plot(out: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    rows = _read(out / "sizes.csv")
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for step in STEPS:
        mine = sorted((int(r["images"]), r) for r in rows if r["step"] == step)
        for axis, column, scale in zip(axes, ("processor_s", "peak_mb"), (1, 1e3), strict=True):
            axis.plot([n for n, _ in mine], [float(r[column]) / scale for _, r in mine], "o-",
                      label=step)  # fmt: skip
    for axis, title in zip(axes, ("processor time, s", "peak memory, GB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="images", title=title)
        axis.grid(alpha=0.3)
    axes[1].axhline(4, color="0.5", linestyle="--")
    axes[0].legend(fontsize=7)
    figure.savefig(out / "sizes.png", dpi=120)


if __name__ == "__main__":
    if sys.argv[1] == "--step":
        _step(sys.argv[2])
    else:
        place = Path(sys.argv[2])
        measure(Path(sys.argv[1]), place, [int(n) for n in sys.argv[3:]] or list(STUDIES))
        (place / "sizes.md").write_text(table(place))
        plot(place)
