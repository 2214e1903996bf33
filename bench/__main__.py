"""`bench`: argv to a verb; a user's error is one line, a hint and an exit code."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from bench.terminal import painted

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
# verb -> (module with add_arguments(parser) and run(arguments), one line of help)
VERBS = {
    "doctor": (
        "bench.commands.doctor",
        "what works here, what is missing, the command that fixes each",
    ),
    "list": ("bench.commands.list", "known models, suites, datasets, metrics, papers"),
    "data": ("bench.commands.data", "check a dataset, or prepare it from its public release"),
    "run": ("bench.commands.run", "run a suite: plan, train, score, tables"),
    "status": ("bench.commands.status", "a suite's runs: waiting, running where, done, failed why"),
    "execute": ("bench.commands.execute", "execute one run from its spec.json"),
    "score": (
        "bench.commands.score",
        "score a file of predictions, against a dataset or any references",
    ),
    "label": ("bench.commands.label", "CheXpert's 14 observations of any file of reports, and why"),
    "perf": (
        "bench.commands.perf",
        "timings: decode, models, mgca, pipeline, score; memory, FLOPs, share of the machine",
    ),
    "compare": ("bench.commands.compare", "two systems: difference, interval, p, in words"),
    "power": ("bench.commands.power", "what difference a design can find, and what it costs"),
    "table": ("bench.commands.table", "print a paper table from sealed runs"),
    "pretrain": (
        "bench.commands.pretrain",
        "train an image tokenizer or encoder, sealed with a digest",
    ),
    "probe": (
        "bench.commands.probe",
        "linear probe of an image encoder: pretrained, named, or random",
    ),
    "weights": ("bench.commands.weights", "list, add, verify, fetch, import pretrained weights"),
    "report": ("bench.commands.report", "write a suite's report from the published runs"),
    "plot": ("bench.commands.plot", "draw a suite's figures, UAR's Figures 3-6 among them"),
    "board": ("bench.commands.board", "publish, diff, retract, validate leaderboard rows"),
    "verify": ("bench.commands.verify", "digests, scores and first steps of sealed runs"),
    "check": (
        "bench.commands.check",
        "the regression gate: golden scores and losses, board, tables",
    ),
    "reproduce": ("bench.commands.reproduce", "the commands that make a run again"),
}

TRAINING = ("run", "execute", "pretrain")  # whose trainings several processes can share


def parser() -> argparse.ArgumentParser:
    """The parser of the verb names alone: a verb's own options are added when it is called."""
    lines = "\n".join(f"  {verb:<10} {text}" for verb, (_, text) in VERBS.items())
    top = argparse.ArgumentParser(
        prog="bench",
        description="Benchmark and reproducibility harness for chest X-ray report generation.",
        epilog=f"verbs:\n{lines}\n\n`bench VERB --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    top.add_argument("verb", nargs="?", metavar="VERB")
    top.add_argument("-h", "--help", action="store_true")
    return top


def main(argv: list[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):  # a letter that a terminal lacks ends no command
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    # A model hub is never asked for what was not put there on purpose.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # torch warns of what is known, once a process
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if not argv or argv[0] in ("-h", "--help"):
        print(parser().format_help())
        return 0
    from bench.errors import BenchError, printable

    debug = "--debug" in argv
    argv = [a for a in argv if a != "--debug"]
    try:
        code = _verb(argv[0], argv[1:])
        if sys.stdout is not None:  # it may have been closed before we began
            sys.stdout.flush()  # here, where a full disk has an exit code
        return code
    except BenchError as error:
        if debug:
            raise
        print(painted(f"error: {printable(str(error))}", sys.stderr), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        ended = "terminated" if stop.args == (signal.SIGTERM,) else "interrupted"
        print(f"{ended}: finished work is kept; run the same command again", file=sys.stderr)
        return 143 if ended == "terminated" else 130
    except BrokenPipeError:  # `| head`
        _mute()
        return 0
    except OSError as error:
        if debug:
            raise
        return _refused(error)


def _mute() -> None:
    """What is left to be printed is not, so that the interpreter's end does not fail at it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refused(error: OSError) -> int:
    """What the system refused, in a line: 1 for a disk that is full or fails, 2 for the rest."""
    from bench.errors import printable

    what = printable(str(error.filename or "the output"))
    print(painted(f"error: {what}: {error.strerror or error}", sys.stderr), file=sys.stderr)
    print("  fix: see that it is there, of the right kind, and open to you", file=sys.stderr)
    if not error.filename:
        _mute()
    return 1 if error.errno in DISK else 2


def _verb(name: str, rest: list[str]) -> int:
    from bench.errors import unknown

    if name == "--version":
        from bench import __version__

        print(f"rrg-bench {__version__}")
        return 0
    if name not in VERBS:
        raise unknown("verb", name, VERBS)
    module, text = VERBS[name]
    verb = import_module(module)
    arguments = argparse.ArgumentParser(
        prog=f"bench {name}",
        description=verb.__doc__ or text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_arguments(arguments)
    given = arguments.parse_intermixed_args(rest)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return _together(name, lambda: int(verb.run(given) or 0), given)
    return int(verb.run(given) or 0)


def _together(name: str, command: Callable[[], int], given: argparse.Namespace) -> int:
    """A verb that torchrun started in several processes: they train together."""
    from bench.errors import BenchError
    from bench.runs.together import together
    from bench.runs.workspace import Workspace

    if name not in TRAINING:
        raise BenchError(
            f"`bench {name}` runs in one process, and torchrun started several",
            f"call it without torchrun; {', '.join(TRAINING)} train in several",
        )
    return together(Workspace(given.out, given.cache), command)


if __name__ == "__main__":
    sys.exit(main())
