"""How long a reply will be. What the caller said and what was seen in, tokens out."""

from serve_app.routing.types import RoutingRequest

_FORGETTING = 0.98
_PRIOR_WEIGHT = 4.0


class OutputLengths:
    """Running mean of one tier's reply lengths, in tokens; starts from a configured guess."""

    def __init__(self, default_tokens: int) -> None:
        self._weight = _PRIOR_WEIGHT
        self._mean = float(default_tokens)

    @property
    def mean_tokens(self) -> float:
        return self._mean

    def observe(self, output_tokens: int, *, is_cut: bool = False) -> None:
        """Takes one reply; `is_cut`: it ended at `max_tokens` and would have gone on.

        A cut reply only says "at least so long", so one shorter than the mean says nothing.
        """
        if is_cut and output_tokens <= self._mean:
            return
        self._weight = self._weight * _FORGETTING + 1.0
        self._mean += (output_tokens - self._mean) / self._weight


def expected_output_tokens(
    request: RoutingRequest, *, mean_tokens: float, context_left: int
) -> int:
    """Tokens to plan for: what the caller expects, else the tier's mean, within every limit.

    `max_tokens` caps it, `min_tokens` raises it, and with `ignore_eos` it is `max_tokens` exactly.
    """
    limit = max(1, context_left)
    if request.max_tokens is not None:
        limit = min(limit, max(1, request.max_tokens))
    if request.is_length_fixed:
        return limit
    guess = request.expected_output_tokens or round(mean_tokens)
    return max(1, min(limit, max(guess, request.min_tokens)))
