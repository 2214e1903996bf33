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


def environment(device: str, processes: int = 1) -> dict[str, Any]:
    """Machine, packages and commit: goes to env.json, never into an identity.

    device: what computes, as `Workspace.device` names it; processes: that share a training.
    """
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": processor(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        **_accelerator(device),
        "processes": processes,
    }


def made_elsewhere(made: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What keeps a repetition of a run from being equal bit for bit: "" where nothing does.

    made, here: environments. Another device, processor, torch or number of threads or processes
    rounds otherwise.
    """
    pairs = {
        "device": (made.get("device"), here["device"]),
        "processor": (made.get("cpu"), here["cpu"]),
        "torch": tuple(e.get("packages", {}).get("torch") for e in (made, here)),
        "threads": (made.get("threads"), here["threads"]),
        "processes": (made.get("processes", 1), here["processes"]),
    }
    told = [f"{name} was {a}, is {b}" for name, (a, b) in pairs.items() if a != b]
    return "; ".join(told)


def draws_other_noise(made: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether dropout of a run differs here: a GPU and a CPU draw it by other generators, and
    several processes draw each their own."""
    kinds = {e.get("device") == "cpu" for e in (made, here)}
    return len(kinds) > 1 or made.get("processes", 1) != here["processes"]


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


def _accelerator(device: str) -> dict[str, Any]:
    import torch

    threads = {"threads": torch.get_num_threads()}
    if device == "cpu":
        return {"device": "cpu", **threads}
    return {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda, **threads}
