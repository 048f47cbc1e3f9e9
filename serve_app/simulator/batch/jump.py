"""Many engine steps as one computation. Times of a step in, times of many out; knows no queue."""

import random
from dataclasses import dataclass
from math import ceil, exp, inf, log1p, sqrt

from serve_app.simulator.timing import EngineTiming


@dataclass(slots=True)
class Jump:
    """`steps` steps from `start_s` on, of which n take (n linear_s + n^2 growth_s) x factor.

    While nobody joins or leaves a batch, each step reads one token more per sequence than the step
    before, so that their times grow evenly and their sum is a quadratic. end_s: of the last step.
    """

    start_s: float
    steps: int
    linear_s: float
    growth_s: float
    factor: float
    end_s: float

    def steps_by(self, now: float) -> float:
        """Steps that are through at `now`, the one under way in part."""
        work_s = max(0.0, now - self.start_s) / self.factor
        linear_s = self.linear_s
        root_s = sqrt(linear_s * linear_s + 4 * self.growth_s * work_s)
        return min(2 * work_s / (linear_s + root_s), self.steps)

    def cut(self, now: float) -> None:
        """Ends it with the step under way, or before its first step when none has begun."""
        # Not one step more because of rounding at a step's very end.
        steps = ceil(self.steps_by(now) - 1e-9)
        if steps < self.steps:
            self.steps = steps
            work_s = steps * (self.linear_s + steps * self.growth_s)
            self.end_s = max(now, self.start_s + work_s * self.factor)


class StepNoise:
    """What makes equal steps differ: log-normal noise and, now and then, a hiccup."""

    __slots__ = ("_hiccup_s", "_hiccups_per_step", "_randomness", "_steps_to_hiccup", "_variance")

    def __init__(self, timing: EngineTiming, randomness: random.Random) -> None:
        # Of one step, relative to its mean squared.
        self._variance = exp(timing.log_noise**2) - 1.0
        self._hiccups_per_step = timing.hiccups_per_step
        self._hiccup_s = timing.hiccup_s
        self._randomness = randomness
        self._steps_to_hiccup = self._draw_steps()

    def factor(self, steps: int) -> float:
        """One draw for all of them: log-normal, mean 1, the variance of the mean of `steps`."""
        if not self._variance:
            return 1.0
        spread = sqrt(log1p(self._variance / steps))
        return exp(spread * (self._randomness.gauss(0.0, 1.0) - spread / 2))

    def until_hiccup(self, steps: int) -> tuple[int, float]:
        """How many of `steps` to take at once, and the seconds of hiccup in them.

        A jump ends before the step with the hiccup, which is then a jump of its own.
        """
        if steps <= self._steps_to_hiccup:
            return steps, 0.0
        if self._steps_to_hiccup >= 1.0:
            return int(self._steps_to_hiccup), 0.0
        self._steps_to_hiccup = 1.0 + self._draw_steps()
        return 1, self._randomness.expovariate(1.0 / self._hiccup_s)

    def took(self, steps: int) -> None:
        """Counts the steps that really were taken."""
        self._steps_to_hiccup -= steps

    def _draw_steps(self) -> float:
        rate = self._hiccups_per_step
        return float(int(self._randomness.expovariate(rate))) if rate else inf
