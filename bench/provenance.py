"""Where a run was made: machine, packages and commit."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "transformers", "pycocoevalcap", "radgraph")


def commit() -> str:
    """The checkout's commit, with "+dirty" when tracked files differ; "" outside a checkout."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.yaml")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+dirty" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def environment() -> dict[str, Any]:
    """Machine, packages and commit: goes to env.json, never into an identity."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": processor(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        **_accelerator(),
    }


def made_elsewhere(made: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What keeps a repetition of a run from being equal bit for bit: "" where nothing does.

    made, here: environments. Another device, processor or torch rounds otherwise.
    """
    pairs = {
        "device": (made.get("device"), here["device"]),
        "processor": (made.get("cpu"), here["cpu"]),
        "torch": tuple(e.get("packages", {}).get("torch") for e in (made, here)),
    }
    told = [f"{name} was {a}, is {b}" for name, (a, b) in pairs.items() if a != b]
    return "; ".join(told)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's model name."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")


def _accelerator() -> dict[str, Any]:
    import torch

    threads = {"threads": torch.get_num_threads()}
    if not torch.cuda.is_available():
        return {"device": "cpu", **threads}
    return {"device": torch.cuda.get_device_name(0), "cuda": torch.version.cuda, **threads}
