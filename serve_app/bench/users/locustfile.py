"""So many users who each wait for their reply before they ask again. Runs with locust itself:

    locust -f serve_app/bench/users/locustfile.py --host http://127.0.0.1:8000 \
        --headless --users 8 --spawn-rate 8 --for-s 60 --pace-s 5 --records out.jsonl

`tandem bench load --users 8` does so and scores what came. With --pace-s a user wants to ask every
so many seconds: who waits longer for a reply asks the next time too late, and that time counts too.
"""

import itertools
import math
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.exception import StopUser

from serve_app.bench.traffic.records import Record, write_records
from serve_app.bench.traffic.source import Source
from serve_app.bench.traffic.workload import ROUTED, Asked, body

_CHAT = "/v1/chat/completions"


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--model", default="auto", help="What each request names.")
    parser.add_argument("--pace-s", type=float, default=0.0, help="0: ask again at once.")
    parser.add_argument("--for-s", type=float, default=math.inf, help="Leave after so long.")
    parser.add_argument("--records", help="Write a line of JSON for each request to this file.")
    parser.add_argument("--trace", help="CSV file that the lengths are taken from.")
    parser.add_argument("--scale", type=float, default=1.0, help="Lengths, against the trace's.")
    parser.add_argument("--slo-ms", type=float, help="The same SLO for all; else a mix.")
    parser.add_argument("--plain", action="store_true", help="Say nothing of the SLO.")


class Run:
    """What all users of a run share: one stream of requests, one clock."""

    def __init__(self, options: Any) -> None:
        self.options = options
        self.began_s = time.perf_counter()
        self.salt = str(time.time_ns())
        self._requests = self._endless(Source.of(options.trace, options.scale, options.slo_ms))
        self._records: list[Record] = []
        self._num_left = 0

    def now_s(self) -> float:
        return time.perf_counter() - self.began_s

    def next(self) -> Asked:
        return next(self._requests)

    def body(self, asked: Asked) -> dict[str, Any]:
        slo = None if self.options.plain else ROUTED
        return body(asked, model=self.options.model, salt=self.salt, slo=slo)

    def leave(self, environment: Environment) -> None:
        """Says that a user has left; the last one ends the run.

        locust's own --run-time counts from before the first user is there.
        """
        self._num_left += 1
        if self._num_left == self.options.num_users and environment.runner is not None:
            environment.runner.quit()

    def keep(self, record: Record) -> None:
        self._records.append(record)

    def finish(self) -> None:
        if self.options.records:
            write_records(Path(self.options.records), self._records)

    def _endless(self, source: Source) -> Iterator[Asked]:
        for start in itertools.count(0, source.count):
            for asked in source.constant(rate_per_s=1.0, duration_s=source.count):
                yield Asked(start + asked.index, 0.0, asked.prompt_tokens, asked.max_tokens,
                            asked.slo_s)  # fmt: skip


_runs: dict[int, Run] = {}


def _begin(environment: Environment, **_: Any) -> None:
    _runs[id(environment)] = Run(environment.parsed_options)


def _end(environment: Environment, **_: Any) -> None:
    _runs.pop(id(environment)).finish()


events.init_command_line_parser.add_listener(_arguments)  # type: ignore[no-untyped-call]
events.test_start.add_listener(_begin)  # type: ignore[no-untyped-call]
events.test_stop.add_listener(_end)  # type: ignore[no-untyped-call]


class Caller(FastHttpUser):
    """One user. Its next request is due a pace after the last one was, reply or no reply."""

    def on_start(self) -> None:
        self._run = _runs[id(self.environment)]
        self._due_s = self._run.now_s()

    def wait_time(self) -> float:
        return max(0.0, self._due_s - self._run.now_s())

    @task
    def ask(self) -> None:
        run, due_s = self._run, self._due_s
        if due_s >= run.options.for_s:
            run.leave(self.environment)
            raise StopUser
        asked = run.next()
        sent_s = run.now_s()
        response = self.client.post(_CHAT, json=run.body(asked))
        ended_s = run.now_s()
        told = (response.json() or {}) if response.status_code == 200 else {}
        usage = told.get("usage") or {}
        run.keep(
            Record(
                asked.index, due_s, sent_s, ended_s, asked.slo_s, response.status_code or None,
                told.get("model"), usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0),
            )
        )  # fmt: skip
        pace_s = run.options.pace_s
        self._due_s = due_s + pace_s if pace_s else ended_s
