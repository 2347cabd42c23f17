"""Statistics over clips and seeds with their intervals: every interval of the study comes from `bootstrap`."""

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

RESAMPLES = 2000  # behind an interval


def matrix(rows: pd.DataFrame, column: str, clips=None) -> np.ndarray:
    """One number per seed and clip, (S, N), NaN where there is none; clips of the same name stay apart.

    Args:
        rows: a row per video: "name" of its clip, `column`, and "seed" (without it, all are of one).
        clips: names in the order wanted; by default as they come.
    """
    wide = pd.DataFrame({"seed": rows.get("seed", 0), "name": rows["name"], "value": rows[column].astype(float)})
    wide["again"] = wide.groupby(["seed", "name"]).cumcount()
    order = dict.fromkeys(wide["name"] if clips is None else clips)
    most = wide.groupby("name")["again"].max()
    columns = [(name, again) for name in order for again in range(most.get(name, 0) + 1)]
    return wide.pivot(index="seed", columns=["name", "again"], values="value").reindex(columns=columns).to_numpy()


def mean(values: np.ndarray, of: Callable = np.nanmean) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return of(values, axis=-1)


median = partial(mean, of=np.nanmedian)  # likewise


def bootstrap(statistic: Callable, *values: np.ndarray, together: bool = True, resamples=RESAMPLES, seed: int = 0):
    """A statistic with its 95 % percentile interval; seeds and clips are both drawn anew (hierarchical bootstrap).

    A clip is filmed with every seed, so rows and columns are drawn independently (Owen 2007, the pigeonhole
    bootstrap): the interval holds what another training and what other clips would change. With one seed it holds the
    clips alone.

    Args:
        statistic: called with an array (..., S N) per entry of `values`, returns (...) or (..., K).
        values: (N,), or (S, N): seeds and clips, NaN where something could not be measured.
        together: the arrays show the same clips, drawn together; otherwise only their seeds are the same.

    Returns:
        "value", "low", "high" (floats, or arrays (K,)), "n": clips with a number in every array (or in any, if they
        are not together), "seeds".
    """
    values = [np.atleast_2d(np.asarray(each, float)) for each in values]
    rng, seeds = np.random.default_rng(seed), len(values[0])
    rows = rng.integers(seeds, size=(resamples, seeds, 1))
    columns = [rng.integers(each.shape[1], size=(resamples, 1, each.shape[1])) for each in values if each.shape[1]]
    if not columns or len(columns) < len(values):
        return {"value": np.nan, "low": np.nan, "high": np.nan, "n": 0, "seeds": seeds}
    columns = [columns[0]] * len(values) if together else columns
    drawn = [each[rows, column].reshape(resamples, -1) for each, column in zip(values, columns, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanpercentile(statistic(*drawn), [2.5, 97.5], axis=0)
    value = statistic(*(each.ravel() for each in values))
    shown = [np.isfinite(each).any(0) for each in values]
    count = np.logical_and.reduce(shown).sum() if together else sum(each.sum() for each in shown)
    found = {"value": value, "low": low, "high": high}
    found = {name: float(number) if np.ndim(number) == 0 else number for name, number in found.items()}
    return found | {"n": int(count), "seeds": seeds}


def summarise(table: pd.DataFrame, columns, by=None, seed: int = 0) -> pd.DataFrame:
    """Means with intervals, one row per group and metric.

    Args:
        table: a row per video: "name", the metrics, and "seed" where there are several.
        by: column, or list of columns, to group by.

    Returns:
        The columns of `by`, then "metric", "mean", "low", "high", "n" (clips that have the metric: a released metric is
        NaN for a clip in which the two objects are never seen together) and "seeds".
    """
    keys = [] if by is None else [by] if isinstance(by, str) else list(by)
    groups = table.groupby(keys, sort=False) if keys else [((), table)]
    rows = []
    for values, group in groups:
        for column in columns:
            found = bootstrap(mean, matrix(group, column), seed=seed)
            row = dict(zip(keys, values, strict=True)) | {"metric": column, "mean": found.pop("value")}
            rows.append(row | found)
    return pd.DataFrame(rows)


def reduction(before: np.ndarray, after: np.ndarray, seed: int = 0) -> dict:
    """By which share the mean falls from `before` to `after`, both (S, N) of the same clips.

    Returns:
        As `bootstrap`, "mean" instead of "value": 1 - mean(after) / mean(before). Videos that lack one are left out.
    """
    both = np.isfinite(before) & np.isfinite(after)
    before, after = np.where(both, before, np.nan), np.where(both, after, np.nan)
    found = bootstrap(lambda one, other: 1 - mean(other) / mean(one), before, after, seed=seed)
    return {"mean": found.pop("value")} | found


def skill(base: np.ndarray, guess: np.ndarray, model: np.ndarray, seed: int = 0) -> dict:
    """Where a model's mean error lies between the base's (0) and the best guess's (1); above 1 it is better.

    Args:
        base, guess, model: (S, N) of the same clips, or (1, N) for what has nothing random.

    Returns:
        As `bootstrap`.
    """
    seeds = max(map(len, (base, guess, model)))
    same = [np.broadcast_to(each, (seeds, each.shape[1])) for each in (base, guess, model)]
    return bootstrap(lambda b, g, m: (mean(b) - mean(m)) / (mean(b) - mean(g)), *same, seed=seed)


def slopes(table: pd.DataFrame, of: str, by: tuple[str, ...], seed: int = 0) -> pd.DataFrame:
    """How a number changes with others: joint least squares over all videos.

    Several slopes of several models are several tests: one in twenty intervals misses 0 by chance.

    Args:
        table: a row per video: "name", "seed", `of` and `by`; rows that lack a value are left out.
        of, by: the column that is explained, and those that explain it.

    Returns:
        A row per column of `by`: "by", "slope", "low", "high", "n", "seeds", and "effect": the change of `of` between a
        standard deviation below and one above the mean of that column. NaN with fewer than twice as many clips as
        unknowns.
    """
    columns = [matrix(table, column) for column in (of, *by)]
    known = np.logical_and.reduce([np.isfinite(each) for each in columns])
    if known.any(0).sum() < 2 * (len(by) + 1):
        empty = dict.fromkeys(("slope", "low", "high", "effect"), np.nan)
        return pd.DataFrame({"by": list(by), "n": int(known.any(0).sum()), "seeds": len(known)} | empty)

    def solve(target: np.ndarray, *others: np.ndarray) -> np.ndarray:
        design = np.stack([np.ones_like(target), *others], -1) * np.isfinite(target)[..., None]
        design, target = np.nan_to_num(design), np.nan_to_num(target)
        normal = np.einsum("...ni,...nj->...ij", design, design) + 1e-12 * np.eye(len(others) + 1)
        return np.linalg.solve(normal, np.einsum("...ni,...n->...i", design, target)[..., None])[..., 1:, 0]

    found = bootstrap(solve, *(np.where(known, each, np.nan) for each in columns), seed=seed)
    spread = [np.nanstd(np.where(known, each, np.nan)) for each in columns[1:]]
    rows = {"by": list(by), "slope": found["value"], "low": found["low"], "high": found["high"]}
    rows |= {"n": found["n"], "seeds": found["seeds"], "effect": 2 * found["value"] * spread}
    return pd.DataFrame(rows)


def readable(summary: pd.DataFrame, digits: int = 3, percent: bool = False) -> pd.DataFrame:
    """A summary for reading: one row per group, one column per metric, cells "mean [low, high]", n and seeds.

    Args:
        summary: as from `summarise`; means may be called "value", as from `bootstrap`.
        digits: after the point.
        percent: of changes: signed, in whole per cent.
    """
    summary = summary.rename(columns={"value": "mean"})
    form = "{:+.0%}" if percent else f"{{:.{digits}f}}"
    keys = [name for name in summary if name not in ("metric", "mean", "low", "high", "n", "seeds")]
    cells = [f"{form} [{form}, {form}]".format(row.mean, row.low, row.high) for row in summary.itertuples()]
    wide = summary.assign(cell=cells).pivot(index=keys, columns="metric", values="cell")
    wide = wide[list(dict.fromkeys(summary["metric"]))].reindex(summary.set_index(keys).index.unique())
    counts = summary.groupby(keys, sort=False)[["n", "seeds"]].max()
    return wide.assign(n=counts["n"], seeds=counts["seeds"])
