"""One tier's schema: an entry of `llm_configs`, as Ray Serve LLM takes it, plus what is ours."""

import difflib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_ADAPTERS_AT = "dynamic_lora_loading_path"


class Strict(BaseModel):
    """A model that refuses unknown keys and names the nearest valid one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        unknown = [key for key in values if key not in cls.model_fields]
        if unknown:
            raise ValueError("; ".join(unknown_key(key, list(cls.model_fields)) for key in unknown))
        return values


def unknown_key(key: object, valid: list[str]) -> str:
    """A sentence that names an unknown key and what was probably meant.

    >>> unknown_key("qualty", ["quality", "accelerator"])
    "unknown key 'qualty', did you mean 'quality'?"
    """
    nearest = difflib.get_close_matches(str(key), valid, n=1, cutoff=0.6)
    if nearest:
        return f"unknown key {str(key)!r}, did you mean {nearest[0]!r}?"
    return f"unknown key {str(key)!r}; valid keys are {', '.join(sorted(valid))}"


class ModelLoading(Strict):
    """Which model, and where its weights come from."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model_id: str = Field(description="Name that callers use for this tier.")
    model_source: str | dict[str, Any] | None = Field(
        None,
        description="Hugging Face id, local folder, or `s3://...` or `file:///...` of a model that "
        "`tandem store push` published (docs/store.md); the model id when left out. "
        "`~` and `$VARIABLES` are expanded; `embedded:NAME` is a model that `make up` prepares.",
    )
    tokenizer_source: str | None = Field(
        None, description="Where the tokenizer comes from, when not from the weights."
    )


class TierRouting(Strict):
    """What the router has to know about a tier and no engine can tell."""

    quality: dict[str, float] = Field(
        default_factory=lambda: {"default": 1.0},
        description="Score of the answers per task, `default` at least; any scale, higher is "
        "better. MT-Bench or your own evaluation.",
    )
    usd_per_hour: float = Field(0.0, ge=0, description="Price of one replica, in USD per hour.")
    accelerator: str | None = Field(
        None,
        description="Accelerator of `tandem check`'s table (A6000, A100-80, H100, ...), used for "
        "the prediction before anything was measured.",
    )
    min_prompt_tokens: int = Field(0, ge=0, description="Shorter prompts never go here.")
    max_prompt_tokens: int | None = Field(None, ge=1, description="Longer prompts never go here.")

    @field_validator("quality")
    @classmethod
    def _has_default(cls, quality: dict[str, float]) -> dict[str, float]:
        if "default" not in quality:
            raise ValueError(f"quality needs the key 'default', got {sorted(quality)}")
        return quality


class FakeTiming(Strict):
    """A tier without a model: prefill(n) = a + b n, step(B) = c + d B, continuous batching.

    Times in seconds. For tests, demos and benchmarks of everything but the engine.
    """

    prefill_base_s: float = Field(0.02, ge=0, description="a: seconds of any prefill.")
    prefill_per_token_s: float = Field(2e-4, ge=0, description="b: seconds per prompt token.")
    step_base_s: float = Field(0.02, ge=0, description="c: seconds of any decode step.")
    step_per_sequence_s: float = Field(5e-4, ge=0, description="d: seconds per running sequence.")
    noise: float = Field(0.0, ge=0, le=1, description="Relative spread of each step's time.")
    seed: int = Field(0, description="Seed of the noise.")
    output_tokens: int = Field(64, ge=1, description="Tokens of a reply that nothing limits.")
    context_tokens: int = Field(8192, ge=16, description="Context window, in tokens.")
    max_num_seqs: int = Field(32, ge=1, description="Sequences that decode together.")
    start_s: float = Field(0.0, ge=0, description="Seconds from start to ready.")


class TierSpec(Strict):
    """One tier: a superset of one `llm_configs` entry of `ray.serve.llm:build_openai_app`."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model_loading_config: ModelLoading = Field(description="Which model, and from where.")
    llm_engine: Literal["vLLM"] = Field("vLLM", description="The engine.")
    engine_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Straight to vLLM; `tandem check` verifies the names."
    )
    accelerator_type: str | None = Field(None, description="Ray's accelerator type, e.g. A100.")
    accelerator_config: dict[str, Any] | None = Field(
        None, description="Ray's hardware block, e.g. `{kind: cpu}`."
    )
    placement_group_config: dict[str, Any] | None = Field(
        None, description="Bundles and strategy of the engine's workers."
    )
    lora_config: dict[str, Any] | None = Field(
        None,
        description="LoRA adapters, as in Ray; `dynamic_lora_loading_path` may also be a folder.",
    )
    deployment_config: dict[str, Any] = Field(
        default_factory=dict, description="Ray Serve deployment options: replicas, autoscaling."
    )
    runtime_env: dict[str, Any] | None = Field(
        None, description="Environment of replica and engine workers."
    )
    experimental_configs: dict[str, Any] = Field(
        default_factory=dict, description="Ray Serve LLM's experimental keys."
    )
    log_engine_metrics: bool = Field(True, description="Export vLLM's metrics through Ray.")
    callback_config: dict[str, Any] | None = Field(
        None, description="Ray Serve LLM's initialization callback."
    )
    server_cls: None = Field(None, description="Reserved: the tier's server is Tandem's own.")
    routing: TierRouting = Field(
        default_factory=TierRouting, description="Ours: quality, price, accelerator, hard rules."
    )
    fake: FakeTiming | None = Field(
        None, description="Ours: serve a timed fake instead of a model."
    )

    @property
    def model_id(self) -> str:
        return self.model_loading_config.model_id

    @property
    def may_sleep(self) -> bool:
        """Whether it may have no replica, and starts one when it is wanted."""
        scaling = self.deployment_config.get("autoscaling_config") or {}
        return bool(scaling.get("min_replicas", 1) == 0)

    @property
    def adapters_folder(self) -> str | None:
        """Where the tier's adapters are, as written; None without adapters or for a bucket."""
        location = (self.lora_config or {}).get(_ADAPTERS_AT)
        return location if isinstance(location, str) and "://" not in location else None

    def ray_llm_config(self) -> dict[str, Any]:
        """The entry as `ray.serve.llm.LLMConfig` takes it: ours removed, unset keys left out."""
        config = self.model_dump(exclude={"routing", "fake", "server_cls"}, exclude_unset=True)
        if self.adapters_folder is not None:
            # Ray takes buckets only; folders are loaded by ours.
            del config["lora_config"][_ADAPTERS_AT]
        return config
