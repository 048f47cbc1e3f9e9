"""How a shared machine's speed went up and down, from replies on it. Replies in, a Pace out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serve_app.simulator.validation.one_machine import Machine, Pace, Reply

_STEP_S = 5.0
# A reply tells of the moments at which it was under way, and less and less of those around.
_WIDTH_S = 20.0
# Counts like one reply that says the machine is as fast as usual.
_PRIOR = 1.0
_ROUNDS = 6
# Replies overlap: a whole correction by each of them would overshoot.
_SHARE = 0.7
_MAX_LOG_ERROR = 0.5


def fitted_pace(machine: Machine, replies: Sequence[Reply], chosen: Sequence[bool]) -> Pace:
    """The pace at which simulated times come near to those of the chosen replies.

    A kernel smoother (Nadaraya and Watson) over what the simulation missed, logarithms of the
    measured by the simulated time, repeated until what it corrects has been simulated too.
    """
    began_s = replies[0].arrived_at_s
    arrived_s = np.array([reply.arrived_at_s - began_s for reply in replies])
    measured_s = np.array([reply.e2e_s for reply in replies])
    weights = _weights(arrived_s, arrived_s + measured_s) * np.array(chosen)[:, None]
    logs = np.zeros(weights.shape[1])
    for _ in range(_ROUNDS):
        simulated_s = np.array(machine.e2e_s(replies, _pace(logs)))
        missed = np.clip(np.log(measured_s / simulated_s), -_MAX_LOG_ERROR, _MAX_LOG_ERROR)
        logs += _SHARE * (missed @ weights) / (weights.sum(axis=0) + _PRIOR)
    return _pace(logs)


def _weights(began_s: NDArray[np.float64], ended_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """By reply and step of time, 1 while it was under way."""
    moments_s = _STEP_S * (np.arange(int(ended_s.max() / _STEP_S) + 1) + 0.5)
    before_s = began_s[:, None] - moments_s
    after_s = moments_s - ended_s[:, None]
    apart_s = np.maximum(0.0, np.maximum(before_s, after_s))
    weights: NDArray[np.float64] = np.exp(-0.5 * (apart_s / _WIDTH_S) ** 2)
    return weights


def _pace(logs: NDArray[np.float64]) -> Pace:
    return Pace(_STEP_S, tuple(np.exp(logs).tolist()))
