"""RadGraph F1 of two annotations: a pure function, no model, no package.

Jain et al. 2021; Delbrouck et al. 2022 for the three levels. An annotation is {"entities": {id:
{"tokens", "label", "relations": [[type, target id], …]}}}. Each level compares two sets:

simple    (tokens, label)
partial   the same, and whether the entity has any relation
complete  the same, with the type and the target's tokens of each relation; an entity without
          relations counts by itself

Tokens are compared in lower case. Package 0.1.18 does so for complete relations only, so that
"Effusion" and "effusion" differ elsewhere (corrected in its later source).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

Annotation = Mapping[str, Any]


def simple(annotation: Annotation) -> Iterable[Hashable]:
    """(tokens, label) of every entity."""
    for entity in annotation["entities"].values():
        yield entity["tokens"].lower(), entity["label"]


def partial(annotation: Annotation) -> Iterable[Hashable]:
    """(tokens, label, has a relation) of every entity."""
    for entity in annotation["entities"].values():
        yield entity["tokens"].lower(), entity["label"], bool(entity["relations"])


def complete(annotation: Annotation) -> Iterable[Hashable]:
    """(tokens, label, relation, target tokens) of every relation, (tokens, label) without one."""
    entities = annotation["entities"]
    for entity in entities.values():
        own = entity["tokens"].lower(), entity["label"]
        if not entity["relations"]:
            yield own
        for kind, target in entity["relations"]:
            yield (*own, kind, entities[target]["tokens"].lower())


LEVELS: dict[str, Callable[[Annotation], Iterable[Hashable]]] = {
    "simple": simple,
    "partial": partial,
    "complete": complete,
}


def reward(hypothesis: Annotation, reference: Annotation, level: str) -> float:
    """F1 of the two sets; 0 as soon as either has no entity. Duplicates collapse."""
    facts = LEVELS[level]
    found, wanted = set(facts(hypothesis)), set(facts(reference))
    if not found or not wanted:
        return 0.0
    return 2 * len(found & wanted) / (len(found) + len(wanted))


def rewards(hypothesis: Annotation, reference: Annotation) -> tuple[float, ...]:
    """Simple, partial, complete."""
    return tuple(reward(hypothesis, reference, level) for level in LEVELS)
