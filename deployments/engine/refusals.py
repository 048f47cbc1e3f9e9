"""What the engine refuses or dies of, as OpenAI's error objects. Exceptions in, dicts out."""

from typing import Any

from pydantic import ValidationError

from deployments.messages import ENGINE_DEAD


def error_of(err: Exception) -> dict[str, Any]:
    """vLLM's, pydantic's and our own errors; `code` is the HTTP status that they stand for.

    Raises:
        Exception: `err` itself when it stands for none.
    """
    if isinstance(err, ValidationError):
        first = err.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        # What is wrong with several fields together is said of none.
        message = f"{field}: {first['msg']}" if field else first["msg"]
        return _error(400, message, field or None)
    status = getattr(err, "http_status", None) or getattr(err, "status_code", None)
    if status is None and type(err).__module__.startswith("vllm.exceptions"):
        status = 400
    if status is None:
        raise err
    return _error(int(status), str(err), None)


def engine_death(actor_id: str) -> dict[str, Any]:
    """That the engine is gone, and of which replica."""
    return {
        "message": "The engine died while it had this request.",
        "type": "server_error",
        "code": ENGINE_DEAD,
        "actor_id": actor_id,
    }


def _error(status: int, message: str, param: str | None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"message": message, "type": kind, "param": param, "code": status}
