"""How often the interval of `fit_scaled` holds the truth: `python tests/gravity_coverage.py [TRIALS]`, 300 by default.

Simulated falls of 0.4 s seen at 30, 60 and 120 fps, with and without a bounce, track and clicks wrong by 1 px.
"""

import sys

import numpy as np

from pisa_kit.metrics.gravity import MARK, fit_scaled

KINDS = [(60, True, False), (60, False, False), (30, False, False), (120, True, False), (60, True, True)]
SCALE, FALL, LATE, GRAVITY = 400, 0.4, 0.05, 9.81  # pixels per metre, seconds of fall and before it, m/s^2


def fit(fps: float, bounces: bool, tilted: bool, rng: np.random.Generator):
    """The fit of one simulated fall."""
    t = np.arange(int((FALL + LATE + 0.1) * fps) + 1) / fps - LATE
    fallen = GRAVITY / 2 * np.clip(t, 0, FALL) ** 2
    if bounces:
        after = np.clip(t - FALL, 0, None)
        fallen -= GRAVITY / 2 * after * (FALL - after)
    ends = np.array([[10.0, 50.0], [10.0, 50.0 + SCALE]]) + MARK * rng.standard_normal((2, 2))
    return fit_scaled(50 + SCALE * fallen + rng.standard_normal(len(t)), fps, ends, 1.0, tilted, draws=60)


if __name__ == "__main__":
    trials, rng, held = int((sys.argv[1:] or [300])[0]) // len(KINDS), np.random.default_rng(1), []
    for fps, bounces, tilted in KINDS:
        falls = [fit(fps, bounces, tilted, rng) for _ in range(trials)]
        held.append(np.mean([one.gravity_interval[0] <= GRAVITY <= one.gravity_interval[1] for one in falls]))
        spread = np.std([one.gravity for one in falls])
        kind = f"{fps} fps, {'bounce' if bounces else 'no bounce'}{', camera tilted' if tilted else ''}"
        print(f"{kind}: held in {held[-1]:.0%} of {trials}, standard deviation {spread:.3f} m/s^2", flush=True)
    print(f"together: {np.mean(held):.0%} of {trials * len(KINDS)}")
