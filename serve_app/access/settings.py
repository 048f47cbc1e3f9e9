"""What the configuration says of callers and of what they may send. Knows no HTTP, no Ray."""

from typing import Any

from pydantic import Field, field_validator

from deployments.spec import Strict, TierSpec
from serve_app.access.keys.source import open_source
from serve_app.storage.locations import open_storage


class AuthConfig(Strict):
    """Who may call. Without keys only this machine may; see docs/keys.md."""

    keys: str | None = Field(
        None,
        description="Where the API keys are: a file or `s3://bucket/key` made by `tandem keys "
        "create`, or `env:NAME`, an environment variable that holds such a file's content.",
    )
    reload_every_s: float = Field(
        2.0, gt=0, le=5, description="Seconds between two looks for changed keys."
    )
    spend: str | None = Field(
        None,
        description="Where each key's spending of the month is kept: a file or `s3://bucket/key`; "
        "`spend/APPLICATION.json` in $TANDEM_HOME (~/.cache/tandem) when left out.",
    )
    open_to_everyone: bool = Field(
        False,
        description="Start without keys although others can reach the port: whoever does may use "
        "every model and read the router's state.",
    )

    @field_validator("keys")
    @classmethod
    def _is_source(cls, keys: str | None) -> str | None:
        if keys is not None:
            open_source(keys)
        return keys

    @field_validator("spend")
    @classmethod
    def _is_storage(cls, spend: str | None) -> str | None:
        if spend is not None:
            open_storage(spend)
        return spend

    @property
    def is_on(self) -> bool:
        return self.keys is not None


class InputConfig(Strict):
    """What a request may contain; more is refused with 400 before it costs anything."""

    max_header_bytes: int = Field(8192, ge=256, description="Longest value of one header.")
    max_nesting: int = Field(32, ge=4, description="Deepest nesting of the body.")
    max_containers: int = Field(
        20_000, ge=100, description="Most objects and lists in one body, nested ones included."
    )
    max_messages: int = Field(2048, ge=1, description="Most messages of a chat.")
    max_n: int = Field(16, ge=1, description="Most replies to one request (`n`, `best_of`).")
    max_output_tokens: int = Field(
        131_072, ge=1, description="Largest max_tokens that is accepted; the context window limits "
        "replies in any case.",
    )  # fmt: skip
    max_prompts: int = Field(64, ge=1, description="Most prompts of one /v1/completions call.")
    max_stops: int = Field(16, ge=0, description="Most stop texts, bad words or stop token ids.")
    max_logit_biases: int = Field(1024, ge=0, description="Most entries of logit_bias.")
    max_tools: int = Field(128, ge=0, description="Most tools of one request.")
    max_schema_bytes: int = Field(
        65_536, ge=256, description="Largest JSON schema, grammar or list of choices."
    )
    max_choices: int = Field(
        1000, ge=1, description="Most choices of a reply, or values of one `enum` of a schema."
    )
    max_properties: int = Field(
        400,
        ge=1,
        description="Most properties of one object of a schema. Engines give up where a reply has "
        "thousands of ways to go on.",
    )
    max_pattern_length: int = Field(1024, ge=16, description="Longest regular expression.")
    max_repetitions: int = Field(
        10_000,
        ge=16,
        description="Most that the bounded repetitions of one pattern, or one bound of a schema, "
        "may multiply to: `(a{100}){100}` is 10000.",
    )
    body_timeout_s: float = Field(
        30.0, gt=0, description="Seconds in which a whole body must have arrived, else 408."
    )
    media: bool = Field(
        False,
        description="Accept image, audio, video and file parts. Their URLs are fetched by the "
        "engine: also set vLLM's `allowed_media_domains`.",
    )
    chat_template: bool = Field(
        False, description="Accept a `chat_template` of the caller's own (a program, sandboxed)."
    )


_PICKLES = frozenset({"pt", "npcache"})
_MAY_FALL_BACK = frozenset({"auto", "hf"})


def require_safe_weights(model_id: str, engine_kwargs: dict[str, Any]) -> None:
    """Raises ValueError for formats whose files run whatever code is in them."""
    load_format = str(engine_kwargs.get("load_format", "safetensors")).lower()
    if load_format in _PICKLES:
        raise ValueError(
            f"{model_id}: engine_kwargs.load_format {load_format!r} reads pickle files, which can "
            "run any code; convert the weights to safetensors and leave load_format out"
        )


def with_safe_weights(tier: TierSpec) -> TierSpec:
    """The tier, reading safetensors unless it names another format.

    With `auto` and `hf` vLLM falls back to pickle files when a model has no safetensors.
    """
    named = str(tier.engine_kwargs.get("load_format", "auto")).lower()
    if tier.fake is not None or named not in _MAY_FALL_BACK:
        return tier
    safe = tier.engine_kwargs | {"load_format": "safetensors"}
    return tier.model_copy(update={"engine_kwargs": safe})
