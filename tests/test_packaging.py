"""What an installation holds: every package with code, every file that code reads."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
FOUND = find_packages(str(ROOT), include=SETUPTOOLS["packages"]["find"]["include"])
PACKAGES = ("bench", "baselines", "uar", "mgca")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_with_code_is_packaged(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert folders
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert names == {name for name in FOUND if name.partition(".")[0] == package}


def test_nothing_else_is_packaged() -> None:
    assert {name.partition(".")[0] for name in FOUND} == set(PACKAGES)
    assert SETUPTOOLS["packages"]["find"]["namespaces"] is False  # a folder of YAML is no package


@pytest.mark.parametrize("package", PACKAGES)
def test_every_data_file_is_packaged(package: str) -> None:
    folder, patterns = ROOT / package, SETUPTOOLS["package-data"][package]
    packaged = {path for pattern in patterns for path in folder.glob(pattern)}
    there = {
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and not path.name.startswith(".")
    }
    assert there <= packaged, f"not in package-data: {there - packaged}"
    assert folder / "py.typed" in packaged
