"""Reports each request once, when it has ended: metrics, access log, decision log, trace."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from opentelemetry.trace import Tracer

from serve_app.asks import Ask
from serve_app.errors import ClientGone, TandemError
from serve_app.routing.decision import Decision
from serve_app.telemetry.decision_log import DecisionLog
from serve_app.telemetry.entries import decision_entry
from serve_app.telemetry.explain import explain
from serve_app.telemetry.metrics import Metrics
from serve_app.telemetry.records import RequestRecord, Verdict
from serve_app.telemetry.tracing import RequestTrace

log = logging.getLogger("ray.serve.tandem")
access_log = logging.getLogger("ray.serve.tandem.access")


class Recorder:
    """Opens a record per request and reports it whatever way the request ends.

    Args:
        decisions_kept: how many ended requests `decision()` remembers; the oldest go first.
        decision_log: keeps more of them, on disk; None keeps none.
        objective: what the log's entries say was maximized. replica: who wrote them.
    """

    def __init__(
        self,
        metrics: Metrics,
        tracer: Tracer | None,
        *,
        is_logging: bool,
        decisions_kept: int,
        decision_log: DecisionLog | None = None,
        objective: str = "",
        replica: str = "",
    ) -> None:
        self._metrics = metrics
        self._tracer = tracer
        self._is_logging = is_logging
        self._decisions_kept = decisions_kept
        self._decision_log = decision_log
        self._objective = objective
        self._replica = replica
        self._ended: OrderedDict[str, tuple[Decision, dict[str, Any]]] = OrderedDict()
        self.num_in_flight = 0

    @contextmanager
    def request(self, ask: Ask) -> Iterator[RequestRecord]:
        record = RequestRecord(ask, trace_headers=ask.trace_headers)
        trace = RequestTrace(self._tracer, record) if self._tracer else None
        self.num_in_flight += 1
        self._metrics.in_flight(self.num_in_flight)
        try:
            yield record
        except TandemError as error:
            record.status, record.error_code = error.status, error.code
            raise
        except (asyncio.CancelledError, GeneratorExit):
            record.status, record.error_code = ClientGone.status, ClientGone.code
            raise
        except Exception:
            record.status, record.error_code = TandemError.status, TandemError.code
            raise
        finally:
            self.num_in_flight -= 1
            self._metrics.in_flight(self.num_in_flight)
            try:
                self._finish(record, trace)
            except Exception:
                # What is told of a request must not cost the caller its reply.
                log.exception("A request that has ended could not be reported.")

    def decision(self, decision_id: str) -> dict[str, Any] | None:
        """The explanation and the outcome of an ended request; None when not remembered."""
        if decision_id not in self._ended:
            return None
        decision, outcome = self._ended[decision_id]
        return explain(decision_id, decision) | {"outcome": outcome}

    def logged_decision(self, decision_id: str) -> dict[str, Any] | None:
        """The decision log's entry; reads files, so not for the event loop."""
        if self._decision_log is None:
            return None
        return self._decision_log.find(decision_id)

    def close(self) -> None:
        """Writes what the decision log still holds; blocks for some seconds at most."""
        if self._decision_log is not None:
            self._decision_log.close()

    def _finish(self, record: RequestRecord, trace: RequestTrace | None) -> None:
        record.finished_at_s = time.monotonic()
        outcome, verdict = record.outcome(), record.verdict()
        self._metrics.finished(record, verdict)
        if record.decision is not None:
            self._remember(record.ask.request_id, record.decision, outcome)
        self._log_decision(record, verdict)
        if self._is_logging:
            access_log.info("%s", orjson.dumps(outcome).decode())
        if trace is not None:
            trace.finish(record, wall_offset_s=time.time() - time.monotonic())

    def _log_decision(self, record: RequestRecord, verdict: Verdict | None) -> None:
        if self._decision_log is None or record.decision is None:
            return
        entry = decision_entry(
            record,
            verdict,
            replica=self._replica,
            objective=self._objective,
            wall_offset_s=time.time() - time.monotonic(),
        )
        self._decision_log.append(entry)
        if self._decision_log.num_dropped:
            self._metrics.decisions_dropped(self._decision_log.num_dropped)

    def _remember(self, decision_id: str, decision: Decision, outcome: dict[str, Any]) -> None:
        self._ended[decision_id] = (decision, outcome)
        while len(self._ended) > self._decisions_kept:
            self._ended.popitem(last=False)
