"""What a key may ask for. A key and what was asked in; nothing or a refusal out."""

from serve_app.access.keys.key import Key
from serve_app.errors import NotPermitted

_OWN_OBJECTIVES = ("body", "header")


def require_model(key: Key, model: str) -> None:
    """Raises NotPermitted when the key may not name this model."""
    if key.models is None or model in key.models:
        return
    raise NotPermitted(
        f"model: this API key may not use {model!r:.100}. It may use {_listed(key.models)}.",
        param="model",
    )


def require_class(key: Key, slo_class: str | None, source: str) -> None:
    """Raises NotPermitted when the key may not ask for this objective.

    Args:
        source: who set the objective, as `routing.types.Slo` says.
    """
    if key.classes is None:
        return
    if source in _OWN_OBJECTIVES:
        raise NotPermitted(
            "slo: this API key may not set objectives of its own. It may use the classes "
            f"{_listed(key.classes)}, as `auto:CLASS` or by `x-slo-class`.",
            param="slo",
        )
    if slo_class is not None and slo_class not in key.classes:
        raise NotPermitted(
            f"slo class: this API key may not use {slo_class!r}. It may use "
            f"{_listed(key.classes)}.",
            param="model",
        )


def require_admin(key: Key, path: str) -> None:
    """Raises NotPermitted when the key has no admin right."""
    if not key.admin:
        raise NotPermitted(
            f"{path:.100}: this API key has no admin right. Use one made with `tandem keys create "
            "--admin`."
        )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
