"""Seconds and memory of a tuning step: more steps with gradients cost more, checkpointing costs less memory."""

from dataclasses import replace

from pisa_kit.cost import step_cost
from pisa_kit.presets import Training, Tuning

SETTINGS = Tuning(Training(steps=1, batch=1, learning_rate=1e-4), {"seg": 1.0}, sampling_steps=6)


def test_memory_grows_with_the_steps_and_shrinks_with_checkpointing():
    one, whole = (step_cost(replace(SETTINGS, gradient_steps=through), rounds=1) for through in (1, 6))
    again = step_cost(replace(SETTINGS, gradient_steps=6, checkpoint="all"), rounds=1)
    assert 0 < one["mib"] < whole["mib"] and again["mib"] < whole["mib"]
    assert 0 < one["seconds"] < whole["seconds"]
