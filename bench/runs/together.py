"""A command under torchrun: its first process works as ever, the others join in its trainings.

    torchrun --nproc-per-node 4 -m bench run table1 dataset=iu_xray

Rank 0 alone plans, locks, validates, predicts, scores and writes. When it comes to a training it
names the spec to the others, which open the same data and hold their parts of each batch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.canonical import from_dict
from bench.errors import RunError
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import RunFolder

if TYPE_CHECKING:
    from bench.engine.parallel import World


def processes() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def together(work: Workspace, command: Callable[[], int]) -> int:
    """Run a verb in the first process and follow its trainings in the others; the exit code."""
    from bench.engine.parallel import joined

    with joined(work.device) as world:
        try:
            if not world.leads:
                return follow(work, world)
            code = command()
            world.told(lambda: None)  # no more trainings
            return code
        except BaseException as error:
            raise _explained(error, world) from error


def follow(work: Workspace, world: World) -> int:
    """Take part in one training after the other, until the first process has no more."""
    from bench.runs.training import initial_model, open_training

    while (named := world.told(lambda: None)) is not None:
        spec = from_dict(RunSpec, named, "the first process")
        folder = RunFolder(work.out, spec.run_id)
        open_training(spec, initial_model(spec, work), work, folder, world).run()
    return 0


def _explained(error: BaseException, world: World) -> BaseException:
    """The error that names the process which ended, where another one did."""
    from bench.engine.parallel import ended

    lost = isinstance(error, (RuntimeError, SystemExit))
    word = "" if lost else f"{type(error).__name__}: {error}"
    others = [found for found in ended(world, word) if found[0] != world.rank]
    if not world.leads and (0, word) in others:
        sys.exit(1)  # the first process tells
    if not lost or not others:
        return error
    if not world.leads:
        sys.exit(1)  # the first process tells
    rank, said = others[0]
    return RunError(
        f"process {rank} of {world.size} (rank {rank}) ended: {said}",
        "give the same command again, with any number of processes: it goes on from the last "
        "checkpoint",
    )
