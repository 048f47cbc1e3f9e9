"""When an engine is taken for stalled."""

from deployments.engine.watch import Progress


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
