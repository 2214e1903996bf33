"""The manifest's own digest: it names every other file's, and `seal` names its.

A changed byte in any file of a run is found, in the manifest as well as in what it lists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.spec import digest
from bench.store import MANIFEST, RunFolder, read_json, write_json

SEAL = "seal"


def seal(folder: RunFolder, **facts: Any) -> None:
    """Write the manifest of a finished stage, closed by the digest of its own content."""
    folder.seal(**facts)
    content = read_json(folder / MANIFEST)
    write_json(folder / MANIFEST, {**content, SEAL: digest(content)})


def is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether the manifest is the one that was sealed."""
    content = {k: v for k, v in manifest.items() if k != SEAL}
    return bool(manifest.get(SEAL) == digest(content))


def verify(folder: RunFolder) -> list[str]:
    """What differs from what was sealed, one sentence a file; empty for an intact run."""
    if not (folder / MANIFEST).exists():
        return folder.verify()
    return manifest_problems(folder / MANIFEST, folder.run_id) or folder.verify()


def manifest_problems(path: Path, run_id: str) -> list[str]:
    """Why a manifest cannot be believed; `path` is named as `run_id/manifest.json`."""
    where = f"{run_id}/{MANIFEST}"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bytes that are no UTF-8, text that is no JSON
        return [f"{where}: altered (not readable: {error})"]
    if not isinstance(manifest, dict) or not is_whole(manifest):
        told = isinstance(manifest, dict) and SEAL in manifest
        return [f"{where}: {'altered (its seal does not fit)' if told else 'has no seal'}"]
    if manifest["run_id"] != run_id:
        return [f"{where}: is the manifest of {manifest['run_id']}"]
    if path.read_text(encoding="utf-8") != json.dumps(manifest, indent=1, sort_keys=True) + "\n":
        return [f"{where}: altered (not as it was written)"]
    return []
