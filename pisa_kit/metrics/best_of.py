"""Best-of-N: of N videos of a clip, keep the one that a reward likes best; what that gains, and what it could gain."""

from math import comb

import numpy as np
import pandas as pd

from pisa_kit.metrics import statistics


def expected_error(ranked_by: np.ndarray, errors: np.ndarray, kept_of: int) -> np.ndarray:
    """The mean error (C,) of the lowest-ranked of `kept_of` videos, over all ways to draw so many of a clip's videos.

    Args:
        ranked_by: (C, M), lower is better.
        errors: (C, M) of the same videos.
        kept_of: N, from 1 (a random one) to M.
    """
    count = errors.shape[1]
    ranked = np.take_along_axis(errors, np.argsort(ranked_by, 1, kind="stable"), 1)
    ways = np.array([comb(count - 1 - rank, kept_of - 1) for rank in range(count)]) / comb(count, kept_of)
    return ranked @ ways


def best_of(losses: dict[str, np.ndarray], errors: np.ndarray, counts) -> pd.DataFrame:
    """The error after best-of-N by each reward, between its bounds: *random* (keep any) and *oracle* (keep the best).

    Args:
        losses: reward to its losses (C, M) of M videos of each clip; NaN counts as worst.
        errors: (C, M), what is measured; a clip with NaN is left out.
        counts: values of N.

    Returns:
        A row per choice and N: "choice", "N", "mean", "low", "high", "n" (intervals over clips), and the gain against
        random with its interval, clip by clip: "gain", "gain_low", "gain_high".
    """
    whole = np.isfinite(errors).all(1)
    errors, rows = errors[whole], []
    known = {name: np.nan_to_num(loss[whole], nan=np.inf) for name, loss in losses.items()}
    random = expected_error(errors, errors, 1)
    for count in counts:
        chosen = {name: expected_error(loss, errors, count) for name, loss in known.items()}
        for choice, values in ({"random": random} | chosen | {"oracle": expected_error(errors, errors, count)}).items():
            found = statistics.bootstrap(statistics.mean, values)
            gain = statistics.bootstrap(statistics.mean, random - values)
            row = {"choice": choice, "N": count, "mean": found["value"], "low": found["low"], "high": found["high"]}
            row |= {"gain": gain["value"], "gain_low": gain["low"], "gain_high": gain["high"], "n": found["n"]}
            rows.append(row)
    return pd.DataFrame(rows)
