"""A length threshold, tuned on requests that are not scored. Lengths in, tokens out."""

from collections.abc import Sequence
from itertools import accumulate

from serve_app.simulator.trace import Request


def balanced(requests: Sequence[Request]) -> int:
    """The prompt length in tokens that leaves as much work below it as above.

    Two engines on a core each are then equally busy, which no other threshold beats under load.
    Work is counted in prompt and reply tokens.

    >>> balanced([Request(0, 10, 10), Request(0, 30, 10), Request(0, 50, 10)])
    30
    """
    by_length = sorted(requests, key=lambda request: request.prompt_tokens)
    done = list(accumulate(request.prompt_tokens + request.output_tokens for request in by_length))
    return next(
        request.prompt_tokens
        for request, below in zip(by_length, done, strict=True)
        if below >= done[-1] / 2
    )
