"""Everything that can go wrong with a request, as one tree; the HTTP status is on the class.

TandemError                     500  internal_error
├── InvalidRequest              400  invalid_request
│   ├── MalformedJson           400  malformed_json
│   └── ContextWindowExceeded   400  context_length_exceeded
├── UnknownModel                404  model_not_found
├── DeadlineExceeded            408  deadline_exceeded
├── BodyTooLarge                413  body_too_large
├── SloInfeasible               422  slo_infeasible
├── Saturated                   429  rejected_saturated
├── ClientGone                  499  client_closed_request
├── EngineRejected           as given  engine_rejected
└── Unavailable                 503  unavailable
    └── ShuttingDown            503  shutting_down
"""

from typing import Any


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


class InvalidRequest(TandemError):
    status = 400
    code = "invalid_request"


class MalformedJson(InvalidRequest):
    code = "malformed_json"


class ContextWindowExceeded(InvalidRequest):
    code = "context_length_exceeded"


class UnknownModel(TandemError):
    status = 404
    code = "model_not_found"


class DeadlineExceeded(TandemError):
    status = 408
    code = "deadline_exceeded"
    dropped_reason = "rejected-ttl-expired"


class BodyTooLarge(TandemError):
    status = 413
    code = "body_too_large"


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
        whole_seconds = max(1, -int(-self.retry_after_s // 1))
        milliseconds = max(1, round(self.retry_after_s * 1000))
        return super().headers | {
            "retry-after": str(whole_seconds),
            "retry-after-ms": str(milliseconds),
        }


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


class ShuttingDown(Unavailable):
    code = "shutting_down"
    dropped_reason = "rejected-shutting-down"
