"""From a suite's YAML to an ordered list of runs, through Hydra's compose API.

YAML holds values, the dataclasses of `bench.spec` hold the schema. A suite is a list of rows;
rows of several suites that come to the same spec are one run.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.errors import BenchError, unknown
from bench.spec import from_dict

CONF = Path(__file__).parent / "conf"


@dataclass(frozen=True)
class Row:
    """One row of a suite: its name, the model's YAML, and what it overrides."""

    name: str
    model: str
    overrides: tuple[str, ...] = ()
    ticks: tuple[str, ...] = ()  # the columns of the paper's table that are ticked
    needs: tuple[str, ...] = ()  # weights without which the row is left out


@dataclass(frozen=True)
class Pretraining:
    """Weights that rows ask for as "pretrain:<name>": a pretraining model's YAML with changes."""

    model: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows shown together, in order, beside the rows of a paper's table of the same names."""

    title: str
    rows: tuple[str, ...]
    paper: str = ""
    ticks: tuple[str, ...] = ()  # headings of the tick columns
    also: tuple[str, ...] = ()  # papers of single rows: their own numbers stand beside


@dataclass(frozen=True)
class Suite:
    """Rows to run, the tables that show them, and the floors beside them."""

    title: str
    rows: tuple[Row, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    floors: tuple[str, ...] = ("constant", "frequent", "no_finding", "random", "nearest")
    baseline: str = ""  # the row that others are compared with
    include: tuple[str, ...] = ()  # suites whose rows and tables come first
    pretrainings: Mapping[str, Pretraining] = field(default_factory=dict)


def names(group: str) -> list[str]:
    """The YAML files of a group: suites, models, datasets, ..."""
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


def load_yaml(group: str, name: str) -> dict[str, Any]:
    """The plain content of one YAML; an unknown name lists the known ones."""
    import yaml

    if name not in names(group):
        raise unknown(group, name, names(group))
    text = (CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text) or {}


def load_suite(name: str) -> Suite:
    """A suite with its includes resolved; a row that two suites define must be the same row."""
    suite = from_dict(Suite, load_yaml("suite", name), f"suite {name}")
    rows: dict[str, Row] = {}
    tables: dict[str, Table] = {}
    pretrainings: dict[str, Pretraining] = {}
    for part in [*map(load_suite, suite.include), suite]:
        for row in part.rows:
            if rows.setdefault(row.name, row) != row:
                raise BenchError(f"suite {name}: row {row.name!r} is defined twice, differently")
        tables.update(part.tables)
        pretrainings.update(part.pretrainings)
    for title, table in tables.items():
        for row_name in table.rows:
            if row_name not in rows:
                raise unknown(f"row of table {title} in suite {name}", row_name, rows)
    found = tuple(rows.values())
    return Suite(
        suite.title, found, tables, suite.floors, suite.baseline, pretrainings=pretrainings
    )


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of one run as plain data; a bad key or value says which."""
    return deepcopy(_composed(tuple(overrides)))


@lru_cache(maxsize=256)  # a composition takes a tenth of a second
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
            config = hydra_compose("config", overrides=list(overrides))
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except (HydraException, OmegaConfBaseException) as error:
        raise _explained(error, overrides) from None


def _explained(error: Exception, overrides: Sequence[str]) -> BenchError:
    """Hydra's error in one line, with the nearest known name of a group's option."""
    cause = error.__cause__ or error
    text = " ".join(str(error).split()) + ("" if cause is error else f" ({cause})")
    for override in overrides:
        key, _, value = override.partition("=")
        if key in _groups() and value not in names(key):
            return unknown(key, value, names(key))
    chosen = [o for o in overrides if o.partition("=")[0] in _groups()]
    known = _keys(compose(chosen)) if len(chosen) < len(overrides) else []
    for key in (o.partition("=")[0] for o in overrides if o not in chosen):
        if key.lstrip("+~") == key and key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            nearest = f"did you mean {near[0]!r}? " if near else ""
            return BenchError(
                f"unknown setting {key!r}", f"{nearest}see the files under bench/conf"
            )
    return BenchError(
        f"the configuration does not compose: {text[:300]}",
        "see `bench list` and the files under bench/conf",
    )


def _keys(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of everything that a configuration holds."""
    found = []
    for name, value in config.items():
        found.append(f"{prefix}{name}")
        if isinstance(value, Mapping):
            found += _keys(value, f"{prefix}{name}.")
    return found


def _groups() -> list[str]:
    return sorted(p.name for p in CONF.iterdir() if p.is_dir())
