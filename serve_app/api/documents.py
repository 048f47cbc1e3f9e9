"""What /docs shows of the bodies; the engine owns the full schema, so additions are allowed."""

import re
from typing import Any

_SLO = {
    "type": "object",
    "description": "The objective; removed before the engine sees the body.",
    "properties": {
        "e2e_ms": {"type": "number"},
        "ttft_ms": {"type": "number"},
        "tpot_ms": {"type": "number"},
        "attainment": {"type": "number"},
        "expected_output_tokens": {"type": "integer"},
        "on_infeasible": {
            "type": "array",
            "items": {"enum": ["degrade", "fit", "queue", "reject"]},
        },
    },
}


def _body(properties: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": properties,
        "additionalProperties": True,
        "example": example,
    }
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_ERROR = {
    "description": "A refusal or failure, in OpenAI's form.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["message", "type", "param", "code"],
                        "properties": {"message": {"type": "string"}, "type": {"type": "string"}},
                    }
                },
            }
        }
    },
}
SECURITY_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key of `tandem keys create`."}
}
# Statuses: docs of the errors are in serve_app/errors.py; one schema serves them all.
ERRORS: dict[str, Any] = {
    "responses": {"200": {"description": "The answer."}, "4XX": _ERROR, "5XX": _ERROR},
    "security": [{}, {"key": []}],
}


def path_parameters(path: str) -> dict[str, Any]:
    """What OpenAPI says of the `{names}` in a path; handlers take them from the request.

    >>> path_parameters("/v1/models/{model:path}")["parameters"][0]["name"]
    'model'
    """
    names = re.findall(r"{(\w+)", path)
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
    }


GENERATE_BODY = _body(
    {
        "model": {"type": "string", "default": "auto"},
        "messages": {"type": "array", "items": {"type": "object"}},
        "prompt": {"type": "string"},
        "max_tokens": {"type": "integer", "minimum": 1},
        "stream": {"type": "boolean"},
        "slo": _SLO,
    },
    {
        "model": "auto",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 32,
        "slo": {"e2e_ms": 5000},
    },
)

TOKENIZE_BODY = _body(
    {"model": {"type": "string"}, "prompt": {"type": "string"}},
    {"model": "auto", "prompt": "What is the capital of France?"},
)
