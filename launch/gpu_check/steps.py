"""Steps that run whatever became of those before them, each with a log of its own."""
from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PASS, FAIL, NEEDS_GPU = "PASS", "FAIL", "needs a GPU"


class StepFailed(Exception):
    """One line that says what a step did not get."""


@dataclass
class Finding:
    """What a step saw: one line, and lines of Markdown for the report."""

    summary: str
    details: str = ""
    needs_gpu: bool = False


@dataclass
class Outcome:
    name: str
    result: str
    seconds: float
    finding: Finding
    log: str  # name of the file


@dataclass
class Context:
    """What every step knows."""

    bundle: Path
    torch: Path
    work: Path
    manifest: dict
    dry: bool
    python: str
    deadline: float  # of time.monotonic()
    log: Path = Path(os.devnull)
    known: dict = field(default_factory=dict)  # what steps leave for later ones

    @property
    def device(self) -> str:
        return "cpu" if self.dry else "cuda"

    @property
    def threads(self) -> int:
        """Of the CPU's share of the work. One in a dry run: it shares its cores with whatever else runs there."""
        return 1 if self.dry else min(16, os.cpu_count() or 1)

    @property
    def where(self) -> str:
        """The device as the report names it."""
        return "CPU (dry)" if self.dry else "GPU"

    def dormer(self, *arguments, **options) -> subprocess.CompletedProcess:
        return self.run([self.bundle / "bin" / "dormer", *arguments], **options)

    def test_program(self, name: str, *arguments, **options) -> subprocess.CompletedProcess:
        return self.run([self.bundle / "bin" / "dormer", *arguments], start=f"tests/{name}", **options)

    def environment(self, start: str = "libexec/dormer") -> dict[str, str]:
        return {**os.environ, "DORMER_TORCH": str(self.torch), "PYTHON": self.python, "DORMER_START": start}

    def note(self, text: str) -> None:
        with self.log.open("a") as log:
            log.write(text.rstrip("\n") + "\n")

    def run(self, command, *, start: str = "libexec/dormer", allowed=(0,), seconds: float = 240) -> subprocess.CompletedProcess:
        """Runs a program with its output in the log. Fails the step on another exit code, or when it takes too long."""
        command = [str(part) for part in command]
        self.note("$ " + shlex.join(command) + ("" if start == "libexec/dormer" else f"   # {start}"))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                                   errors="replace", env=self.environment(start), cwd=self.work, start_new_session=True)
        late = False
        try:
            out, err = process.communicate(timeout=max(1.0, min(seconds, self.deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        self.note(out + err + f"[exit code {process.returncode}]")
        if late:
            raise StepFailed(f"{Path(command[0]).name} {' '.join(command[1:2])} did not end in time; the log has what it said")
        if process.returncode not in allowed:
            said = (err.strip() or out.strip() or "nothing").splitlines()[-1]
            raise StepFailed(f"exit code {process.returncode}: {said}")
        return subprocess.CompletedProcess(command, process.returncode, out, err)


Step = tuple[str, Callable[[Context], Finding]]


def log_name(number: int, name: str) -> str:
    """File of a step's log: "03-train-float32.log"."""
    return f"{number:02}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.log"


def run_step(context: Context, number: int, step: Step, logs: Path) -> Outcome:
    name, function = step
    context.log = logs / log_name(number, name)
    context.log.write_text("")
    start = time.monotonic()
    result = PASS
    try:
        if start >= context.deadline:
            raise StepFailed("no time was left; --limit SECONDS gives more")
        finding = function(context)
        result = NEEDS_GPU if finding.needs_gpu else PASS
    except StepFailed as error:
        result, finding = FAIL, Finding(str(error))
    except Exception as error:  # noqa: BLE001  the other steps go on, and the report names it
        context.note(f"{type(error).__name__}: {error}")
        result, finding = FAIL, Finding(f"{type(error).__name__}: {error}")
    context.note(f"{result}: {finding.summary}")
    return Outcome(name, result, time.monotonic() - start, finding, context.log.name)


def table(header: list[str], rows: list[list]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])
