"""Memory, file descriptors and CPU of a server's processes over time. Processes in, Traces out."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

_TITLE = 60


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process; at_s: after the first look.

    uss_bytes: memory that is its own, so that pages shared with other processes count nowhere.
    """

    at_s: float
    uss_bytes: int
    descriptors: int
    cpu_s: float


@dataclass(slots=True)
class Trace:
    """A process and all looks at it."""

    pid: int
    name: str
    samples: list[Sample] = field(default_factory=list)


@dataclass(slots=True)
class Watch:
    """Looks at the processes that `list_processes` finds, each time anew."""

    list_processes: Callable[[], Iterable[psutil.Process]]
    _began_s: float = field(default_factory=time.monotonic)
    _traces: dict[tuple[int, float], Trace] = field(default_factory=dict)

    @property
    def traces(self) -> list[Trace]:
        """By name; a process that was replaced stands beside its successor."""
        return sorted(self._traces.values(), key=lambda trace: (trace.name, trace.pid))

    def look(self) -> None:
        """One Sample of each. A process that ends meanwhile is left out."""
        at_s = time.monotonic() - self._began_s
        for process in self.list_processes():
            with suppress(psutil.Error):
                sample = _sample(process, at_s)
                key = (process.pid, process.create_time())
                if key not in self._traces:
                    self._traces[key] = Trace(process.pid, title(process))
                self._traces[key].samples.append(sample)


def title(process: psutil.Process) -> str:
    """What the process calls itself, or the program and the script that it runs.

    >>> title(psutil.Process())
    'python soak.py'
    """
    words = process.cmdline()
    if not words:
        return process.name()
    program = words[0].rpartition("/")[2].strip() or process.name()
    if not program.startswith("python"):
        return program[:_TITLE]
    scripts = (word for word in words[1:] if not word.startswith("-"))
    return f"python {next(scripts, '').rpartition('/')[2]}".strip()[:_TITLE]


def _sample(process: psutil.Process, at_s: float) -> Sample:
    with process.oneshot():
        cpu = process.cpu_times()
        return Sample(
            at_s, process.memory_full_info().uss, process.num_fds(), cpu.user + cpu.system
        )
