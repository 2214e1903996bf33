"""From a spec to living objects: models, image tokenizers and floors by their import paths.

The harness imports no model package; it follows the `_target_` strings of the YAML files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.errors import BenchError, unknown
from bench.model import ImageSpec, Model, Tokenizer
from bench.spec import PartSpec


def resolve(target: str) -> Any:
    """The object at an import path such as "uar.model.UAR"."""
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BenchError(
            f"no such target: {target!r} ({error})",
            "`_target_` must be an importable path: package.module.name",
        ) from error


def construct(part: PartSpec, paths: Mapping[str, Path | None], **given: Any) -> Any:
    """Build a part; a parameter or a weight file that it does not take is an error that says so."""
    try:
        return resolve(part.target)(weights=dict(paths), **given, **part.params)
    except (TypeError, ValueError, OSError) as error:
        raise BenchError(f"{part.target}: {error}", "see the constructor's docstring") from error


def build_model(
    part: PartSpec,
    paths: Mapping[str, Path | None],
    vocab_size: int,
    max_length: int,
    tokenizer: Tokenizer | None,
) -> Model:
    """A model; one that reads codes also gets `codebook_size`."""
    extra = {"codebook_size": tokenizer.codebook_size} if tokenizer else {}
    return construct(part, paths, vocab_size=vocab_size, max_length=max_length, **extra)


def image_spec(model: Any) -> ImageSpec:
    """The model's declaration as an `ImageSpec`; unknown fields are an error."""
    declared = dict(model.image)
    names = [f.name for f in fields(ImageSpec)]
    for key in declared:
        if key not in names:
            raise unknown(f"field of {type(model).__name__}.image", key, names)
    for key in ("mean", "std"):
        if key in declared:
            declared[key] = tuple(float(x) for x in declared[key])
    return ImageSpec(**declared)
