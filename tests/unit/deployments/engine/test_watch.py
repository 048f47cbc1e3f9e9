"""When an engine is taken for stalled; and what of a failing stream is passed on."""

from deployments.engine.watch import Progress
from deployments.events import until_failure

WORD = 'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'
FAILURE = 'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n'


def test_an_engine_with_work_and_no_steps_stands_still() -> None:
    progress = Progress()
    assert progress.idle_s(7, num_unfinished=1, now=0.0) == 0.0
    assert progress.idle_s(7, num_unfinished=2, now=9.0) == 9.0


def test_every_step_counts_as_progress() -> None:
    progress = Progress()
    progress.idle_s(7, num_unfinished=1, now=0.0)
    assert progress.idle_s(8, num_unfinished=1, now=9.0) == 0.0


def test_an_engine_without_work_does_not_stand_still() -> None:
    # Given a long silence with nothing to do
    progress = Progress()
    progress.idle_s(7, num_unfinished=0, now=0.0)
    progress.idle_s(7, num_unfinished=0, now=900.0)
    # When work comes, then its time counts and no other
    assert progress.idle_s(7, num_unfinished=1, now=901.0) == 1.0


def test_what_was_said_before_a_failure_is_kept_apart_from_it() -> None:
    said, error = until_failure([WORD, WORD, FAILURE, "data: [DONE]\n\n"])
    assert said == [WORD, WORD]
    assert error == {"message": "EngineCore died", "code": 500}
    assert until_failure([WORD]) == ([WORD], None)
