"""YAML files and their composition by Hydra: plain data out, a user's mistake named.

Beside the project's own folder the folders of $BENCH_CONF (one or more, separated as in $PATH) are
searched, for every group. A name that two folders have is an error: nothing shadows anything.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.errors import BenchError, unknown
from bench.settings import (
    of_several,
    refuse_no_name,
    refuse_odd_parameters,
    refuse_other_types,
)

CONF = Path(__file__).parent / "conf"
OWN = ("bench", "baselines", "uar", "mgca")  # the project's packages
# Where parameters of its models are, those first that others are made of.
OF_MODELS = ("size", "images", "backbone_params", "model.params", "model.train.rates")
READ_WHOLE = ("dataset", "decode")  # each of whose settings its reader takes or refuses
VIEWS = "image_views"  # of a dataset, that its models see
IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
GIVEN: set[str] = set()  # import paths in the overrides that this process was given
# What damaged YAML, and overrides that are none, raise beside their readers' own errors.
UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
METRIC = "metric"  # a group that only folders of one's own have: see `bench.metrics.registry`


def folders() -> list[Path]:
    """Where YAML files are looked for: the project's folder, then those of $BENCH_CONF."""
    given = [Path(p).expanduser() for p in os.environ.get("BENCH_CONF", "").split(os.pathsep) if p]
    groups = {METRIC, *(p.name for p in CONF.iterdir() if p.is_dir())} if given else set()
    for folder in given:
        if not any((folder / group).is_dir() for group in groups):
            raise BenchError(
                f"BENCH_CONF names {folder}, which holds no folder of YAML files",
                f"put them in sub-folders: {', '.join(f'{group}/' for group in sorted(groups))}",
            )
    return list(dict.fromkeys(p.resolve() for p in (CONF, *given)))


def files(group: str) -> dict[str, Path]:
    """Name -> YAML file of a group: suites, models, datasets, ...; sorted by name.

    BenchError where two folders have a file of the same name.
    """
    found: dict[str, Path] = {}
    for stray in (p for folder in folders() for p in (folder / group).glob("*.yml")):
        raise BenchError(f"{stray} would not be read", f"call it {stray.stem}.yaml")
    for path in (p for folder in folders() for p in (folder / group).glob("*.yaml")):
        first = found.setdefault(path.stem, path)
        if first != path:
            raise BenchError(
                f"two files define {group} {path.stem!r}: {first} and {path}", "rename one of them"
            )
    return dict(sorted(found.items()))


def stamped(*groups: str) -> tuple[tuple[Path, int], ...]:
    """The files of some groups, each with the time of its last change."""
    return tuple((p, p.stat().st_mtime_ns) for g in groups for p in files(g).values())


def names(group: str) -> list[str]:
    """The names of a group's YAML files."""
    return list(files(group))


def load_yaml(group: str, name: str) -> dict[str, Any]:
    """The plain content of one YAML; an unknown name lists the known ones."""
    import yaml

    known = files(group)
    if name not in known:
        raise unknown(group, name, known)
    try:
        entry = yaml.safe_load(known[name].read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, *UNREADABLE, OSError) as error:
        said = " ".join(str(error).split())
        raise BenchError(f"{known[name]} cannot be read: {said}", "correct the file") from None
    if not isinstance(entry, dict):
        raise BenchError(f"{known[name]} holds no mapping", "write `key: value` lines")
    return entry


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of one run as plain data; a bad key or value says which."""
    GIVEN.update(path for o in overrides for path in IMPORT_PATH.findall(o.partition("=")[2]))
    return deepcopy(_composed(tuple(overrides), tuple(folders())))


@lru_cache(maxsize=256)  # a composition takes a tenth of a second
def _composed(overrides: tuple[str, ...], searched: tuple[Path, ...]) -> dict[str, Any]:
    import yaml
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for group in _groups():
        files(group)  # Hydra itself would take the first of two files of a name
    GlobalHydra.instance().clear()
    main, *more = searched
    path = f"hydra.searchpath=[{','.join(json.dumps(f'file://{p}') for p in more)}]"
    try:
        with initialize_config_dir(str(main), version_base="1.3"):
            config = hydra_compose("config", overrides=[*overrides, path])
        found: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, *UNREADABLE) as error:
        raise _explained(error, overrides) from None
    _refuse_odd(found, overrides, searched)
    return found


def _refuse_odd(
    found: Mapping[str, Any], overrides: tuple[str, ...], searched: tuple[Path, ...]
) -> None:
    """BenchError for a value that the YAML files have of another type."""
    for key in (o.partition("=")[0].lstrip("+~") for o in overrides):
        if re.split(r"[./@]", key)[0] == "hydra":
            raise BenchError(f"{key} is not a setting", "it is of Hydra's own programs")
    for key in (o[1:] for o in overrides if o.startswith("~")):
        if "." not in key or key.startswith("dataset."):
            raise BenchError(f"~{key} removes what every run needs", f"give {key} another value")
    chosen = tuple(o for o in overrides if o.partition("=")[0] in _groups())
    before = _composed(chosen, searched) if len(chosen) < len(overrides) else {}
    _refuse_unread([o.partition("=")[0].lstrip("+") for o in overrides if o[0] == "+"], before)
    refuse_other_types(found, before)
    refuse_no_name("dataset.name", found["dataset"].get("name"))
    if str(found["model"].get("_target_")).partition(".")[0] in OWN:
        of_data, known = ({VIEWS: _at(c, "dataset").get(VIEWS)} for c in (found, before))
        refuse_odd_parameters(of_data, known, "dataset")
        for part in OF_MODELS:
            refuse_odd_parameters(_at(found, part), _at(before, part), part)


def _refuse_unread(added: Sequence[str], before: Mapping[str, Any]) -> None:
    """BenchError for a setting that nothing reads: no YAML of its group has one of its name."""
    for name in added:
        group, _, rest = name.partition(".")
        if group in READ_WHOLE or name in _groups():
            continue
        every = (load_yaml(group, n) for n in names(group)) if group in _groups() else ()
        known = {*_at(before, group), *(key for entry in every for key in entry)}
        key = rest.partition(".")[0]
        if key not in known if rest else group not in before:
            near = difflib.get_close_matches(key or group, known or list(before), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise BenchError(f"unknown setting {name!r}", f"{hint}see the files under bench/conf")


def _at(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What is at a dotted name, {} where that is not several values."""
    found: Any = config
    for key in name.split("."):
        found = (found.get(key) if isinstance(found, Mapping) else None) or {}
    return found if isinstance(found, Mapping) else {}


def _explained(error: Exception, overrides: Sequence[str]) -> BenchError:
    """Hydra's error in one line, with the nearest known name of a group's option."""
    cause = error.__cause__ or error
    text = " ".join(str(error).split()) + ("" if cause is error else f" ({cause})")
    for override in overrides:
        key, _, value = override.partition("=")
        if key in _groups() and value not in names(key):
            return unknown(key, value, names(key))
    chosen = [o for o in overrides if o.partition("=")[0] in _groups()]
    whole = compose(chosen) if len(chosen) < len(overrides) else {}
    known = _keys(whole)
    for key, _, value in (o.partition("=") for o in overrides if o not in chosen):
        if (several := _at(whole, key)) and not value.startswith(("{", "$", "null")):
            return of_several(key, value, several)
        if key.lstrip("+~") == key and key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            nearest = f"did you mean {near[0]!r}? " if near else ""
            return BenchError(
                f"unknown setting {key!r}", f"{nearest}see the files under {_shown_folders()}"
            )
    return BenchError(
        f"the configuration does not compose: {text[:300]}",
        f"see `bench list` and the files under {_shown_folders()}",
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
    return sorted({p.name for folder in folders() for p in folder.iterdir() if p.is_dir()})


def _shown_folders() -> str:
    return " and ".join(["bench/conf", *(str(p) for p in folders()[1:])])


def refuse_repeated(overrides: Sequence[str]) -> None:
    """BenchError for a setting that is given twice: which of its values is meant?"""
    keys = [o.partition("=")[0].lstrip("+") for o in overrides]
    for key in dict.fromkeys(k for k in keys if keys.count(k) > 1):
        given = ", ".join(o for o, k in zip(overrides, keys, strict=True) if k == key)
        raise BenchError(f"{key} is given twice: {given}", "give it once")


def tokenizer_name(config: Mapping[str, Any]) -> str | None:
    """Whose codes or features a model reads: a file of conf/image_tokenizer, None for pixels."""
    model = config["model"]
    name = config["tokenizer"] if model.get("codes") else model.get("features")
    return None if name is None else str(name)
