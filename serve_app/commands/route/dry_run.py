"""A routing decision without a server. Config and OpenAI body in, the body of `/v1/route` out.

Uses the server's own parser, predictor and policy on idle tiers, with speeds from published
figures; a running server knows its load and has measured itself.
"""

import json
from pathlib import Path
from typing import Any

from deployments.spec import TierSpec
from serve_app.api.parsing.bodies import parse_ask
from serve_app.check.tier.models import local_folder
from serve_app.check.tier.sizing import idle_view, size_tier
from serve_app.config import AppConfig
from serve_app.errors import TandemError
from serve_app.prompts import PromptCounter, message_text
from serve_app.routing.admission import admit
from serve_app.routing.policy import choose
from serve_app.routing.types import TierView
from serve_app.telemetry.explain import explain

_CHARACTERS_PER_TOKEN = 4


def dry_run(config: AppConfig, body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Decides on idle tiers; returns the decision and notes on what it rests on.

    Raises:
        TandemError: the body is malformed, or what a server would refuse it with.
    """
    notes: list[str] = []
    views = _views(config, notes)
    tiers = {view.tier for view in views}
    prompt_tokens = {
        tier.model_id: _prompt_tokens(tier, body, notes)
        for tier in config.llm_configs
        if tier.model_id in tiers
    }
    ask = parse_ask("chat", dict(body), {}, config, arrived_at_s=0.0).ask
    request = ask.routing_request(prompt_tokens, now=0.0)
    decision = choose(request, views, objective=config.routing.objective)
    try:
        admit(decision, max_outstanding_s=config.admission.max_outstanding_s, retry_after_s={})
    except TandemError as err:
        notes.append(f"A server would answer {err.status}: {err.message}")
    return explain("dry-run", decision), notes


def _views(config: AppConfig, notes: list[str]) -> list[TierView]:
    """The idle tiers whose speed is known; the others go into `notes`."""
    views = []
    for tier in config.llm_configs:
        size = size_tier(tier)
        view = idle_view(tier, size, default_output_tokens=config.routing.default_output_tokens)
        if view is None:
            notes.append(f"{tier.model_id} is left out: {size.unknown}.")
            continue
        views.append(view)
    return views


def _prompt_tokens(tier: TierSpec, body: dict[str, Any], notes: list[str]) -> int:
    """Counts with the tier's own tokenizer when it lies on this machine."""
    source = tier.model_loading_config.model_source or tier.model_id
    folder = local_folder(source) if isinstance(source, str) else None
    if folder is not None and (folder / "tokenizer.json").is_file():
        return prompt_counter(folder).count(body)
    notes.append(
        f"The tokenizer of {tier.model_id} is not on this machine: its prompt tokens are "
        f"estimated as {_CHARACTERS_PER_TOKEN} characters each."
    )
    characters = sum(len(message_text(message)) for message in body["messages"])
    return max(1, -(-characters // _CHARACTERS_PER_TOKEN))


def prompt_counter(folder: Path) -> PromptCounter:
    """The tokenizer and chat template of a model folder."""
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text()) if file.is_file() else {}
    template = settings.get("chat_template")
    if (folder / "chat_template.jinja").is_file():
        template = (folder / "chat_template.jinja").read_text()
    special = {k: v for k, v in settings.items() if k.endswith("_token") and isinstance(v, str)}
    return PromptCounter(
        (folder / "tokenizer.json").read_bytes(),
        template if isinstance(template, str) else None,
        special,
    )
