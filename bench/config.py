"""YAML files and their composition by Hydra: plain data out, a user's mistake named."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.errors import BenchError, unknown

CONF = Path(__file__).parent / "conf"


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


def tokenizer_name(config: Mapping[str, Any]) -> str | None:
    """Whose codes or features a model reads: a file of conf/image_tokenizer, None for pixels."""
    model = config["model"]
    name = config["tokenizer"] if model.get("codes") else model.get("features")
    return None if name is None else str(name)
