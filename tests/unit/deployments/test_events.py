"""What of the engine's stream is passed on."""

from deployments.events import DONE, sifted

WORD = 'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'
COUNTS = 'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
FAILURE = 'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n'


def test_what_was_said_before_a_failure_is_kept_apart_from_it() -> None:
    said, _, error = sifted([WORD, WORD, FAILURE, DONE], is_usage_wanted=False)
    assert said == (WORD + WORD).encode()
    assert error == {"message": "EngineCore died", "code": 500}
    assert sifted([WORD], is_usage_wanted=False) == (WORD.encode(), None, None)


def test_counts_are_read_and_shown_only_to_who_asked_for_them() -> None:
    # Given the end of a stream
    end = [WORD, COUNTS, DONE]
    # When it is read for a caller who asked for counts, and for one who did not
    asked, usage, _ = sifted(end, is_usage_wanted=True)
    unasked, same_usage, _ = sifted(end, is_usage_wanted=False)
    # Then both are counted, and one sees it; the end mark is left to the tail
    assert usage == same_usage == {"prompt_tokens": 3, "completion_tokens": 2}
    assert asked == (WORD + COUNTS).encode()
    assert unasked == WORD.encode()
