"""Everything that can go wrong with a request, as one tree; the HTTP status is on the class.

TandemError                     500  internal_error
├── TierFailed                  500  tier_failed
├── RequestQuarantined          500  request_quarantined
├── InvalidRequest              400  invalid_request
│   ├── MalformedJson           400  malformed_json
│   └── ContextWindowExceeded   400  context_length_exceeded
├── InvalidKey                  401  invalid_api_key
├── NotPermitted                403  insufficient_permissions
├── UnknownModel                404  model_not_found
├── DeadlineExceeded            408  deadline_exceeded
│   └── NotBegun                408  deadline_exceeded
├── BodyTooSlow                 408  body_too_slow
├── BodyTooLarge                413  body_too_large
├── SloInfeasible               422  slo_infeasible
├── Saturated                   429  rejected_saturated
├── RateLimited                 429  rate_limit_exceeded
│   └── QuotaExceeded           429  insufficient_quota
├── ClientGone                  499  client_closed_request
├── EngineRejected           as given  engine_rejected
└── Unavailable                 503  unavailable
    ├── ReplicaLost             503  replica_lost
    ├── EngineStalled           503  engine_stalled
    └── ShuttingDown            503  shutting_down
"""

from collections.abc import Mapping
from typing import Any

# Of answers given before the body was read: without it servers go on reading what is still sent.
UNREAD = {"connection": "close"}


class TandemError(Exception):
    """Base of all errors that reach a caller.

    Args:
        message: a full sentence: the field, the value, the reason, what to do.
        param: the request field at fault, where there is one.
    """

    status = 500
    code = "internal_error"
    dropped_reason: str | None = None

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    @property
    def type(self) -> str:
        """The `error.type` of OpenAI's error body."""
        return "invalid_request_error" if self.status < 500 else "server_error"

    @property
    def headers(self) -> dict[str, str]:
        """Response headers that belong to the error."""
        if self.dropped_reason is None:
            return {}
        return {"x-router-dropped-reason": self.dropped_reason}

    def body(self) -> dict[str, Any]:
        """OpenAI's error body."""
        error = {
            "message": self.message, "type": self.type, "param": self.param, "code": self.code,
        }  # fmt: skip
        return {"error": error}


class TierFailed(TandemError):
    code = "tier_failed"


class RequestQuarantined(TandemError):
    code = "request_quarantined"


class InvalidRequest(TandemError):
    status = 400
    code = "invalid_request"


class MalformedJson(InvalidRequest):
    code = "malformed_json"


class ContextWindowExceeded(InvalidRequest):
    code = "context_length_exceeded"


class InvalidKey(TandemError):
    status = 401
    code = "invalid_api_key"

    @property
    def headers(self) -> dict[str, str]:
        return super().headers | {"www-authenticate": "Bearer"}


class NotPermitted(TandemError):
    status = 403
    code = "insufficient_permissions"


class UnknownModel(TandemError):
    status = 404
    code = "model_not_found"


class DeadlineExceeded(TandemError):
    status = 408
    code = "deadline_exceeded"
    dropped_reason = "rejected-ttl-expired"


class NotBegun(DeadlineExceeded):
    """It came while the request waited for a tier."""


class BodyTooLarge(TandemError):
    status = 413
    code = "body_too_large"

    @property
    def headers(self) -> dict[str, str]:
        return super().headers | UNREAD


class BodyTooSlow(TandemError):
    status = 408
    code = "body_too_slow"

    @property
    def headers(self) -> dict[str, str]:
        return super().headers | UNREAD


class SloInfeasible(TandemError):
    """No tier could meet the SLO even on an idle machine.

    Args:
        smallest_e2e_ms: the smallest deadline that would have been accepted, in milliseconds.
        largest_output_tokens: the longest reply that fits the asked deadline, in tokens.
    """

    status = 422
    code = "slo_infeasible"
    dropped_reason = "rejected-slo-infeasible"

    def __init__(self, message: str, *, smallest_e2e_ms: int, largest_output_tokens: int) -> None:
        super().__init__(message, param="slo")
        self.smallest_e2e_ms = smallest_e2e_ms
        self.largest_output_tokens = largest_output_tokens

    def body(self) -> dict[str, Any]:
        body = super().body()
        body["error"]["smallest_feasible_e2e_ms"] = self.smallest_e2e_ms
        body["error"]["largest_feasible_output_tokens"] = self.largest_output_tokens
        return body


class Saturated(TandemError):
    """Too much work is ahead of this request right now.

    Args:
        retry_after_s: when the work ahead should have drained, in seconds.
        tier: where it will be, when that is known.
    """

    status = 429
    code = "rejected_saturated"
    dropped_reason = "rejected-saturated"

    def __init__(self, message: str, *, retry_after_s: float, tier: str | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.tier = tier

    @property
    def type(self) -> str:
        return "rate_limit_error"

    @property
    def headers(self) -> dict[str, str]:
        return super().headers | retry_after(self.retry_after_s)


class RateLimited(TandemError):
    """The caller's key is over one of its own limits.

    Args:
        kind: `requests` or `tokens`, OpenAI's `error.type`. limits: its `x-ratelimit-*` headers.
    """

    status = 429
    code = "rate_limit_exceeded"

    def __init__(
        self, message: str, *, retry_after_s: float, kind: str = "requests",
        limits: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.kind = kind
        self.limits = limits or {}

    @property
    def type(self) -> str:
        return self.kind

    @property
    def headers(self) -> dict[str, str]:
        return super().headers | dict(self.limits) | retry_after(self.retry_after_s)


class QuotaExceeded(RateLimited):
    code = "insufficient_quota"

    @property
    def type(self) -> str:
        return self.code


class ClientGone(TandemError):
    status = 499
    code = "client_closed_request"


class EngineRejected(TandemError):
    """The engine refused or failed the request and said why; its status and words are kept."""

    code = "engine_rejected"

    def __init__(
        self, message: str, *, status: int, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.code = code or self.code


class Unavailable(TandemError):
    status = 503
    code = "unavailable"
    dropped_reason = "rejected-no-endpoints"


class ReplicaLost(Unavailable):
    """The replica or its engine died with the request.

    Args:
        replica: names the one that died. with_node: so did its whole node, of which no request is
            guilty.
    """

    code = "replica_lost"

    def __init__(self, message: str, *, replica: str, with_node: bool = False) -> None:
        super().__init__(message)
        self.replica = replica
        self.with_node = with_node


class EngineStalled(Unavailable):
    code = "engine_stalled"


class ShuttingDown(Unavailable):
    code = "shutting_down"
    dropped_reason = "rejected-shutting-down"


def retry_after(seconds: float) -> dict[str, str]:
    """Both headers that say when to come back: whole seconds, and milliseconds."""
    return {
        "retry-after": str(max(1, -int(-seconds // 1))),
        "retry-after-ms": str(max(1, round(seconds * 1000))),
    }
