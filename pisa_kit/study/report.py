"""The study's findings beside the paper's."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from pisa_kit.metrics.scoring import published
from pisa_kit.metrics.verdicts import DISAGREE, PASSES, asked

ENOUGH = 0.8  # share of videos that must land before their fall times say anything; of a gain that few clips keep
OFFICIAL = {"l2": "L2", "chamfer_distance": "CD", "iou": "IoU"}
PAPERS = ("flow", "depth", "seg")  # its rewards
REPRODUCED, NOT_REPRODUCED, CANNOT_BE_ASKED = "reproduced", "not reproduced", "cannot be asked here"
UNDECIDED, NOT_TESTED = "undecided", "not tested"
EFFECTS = {  # method: what it starts from, notebook, metric
    "PSFT": ("base", "02_psft", "l2"),
    "flow": ("PSFT", "03_oro", "l2"),
    "depth": ("PSFT", "03_oro", "l2"),
    "seg": ("PSFT", "03_oro", "iou"),
}
IN_TABLE_1 = {  # method: its name there
    "base": "Open-Sora",
    "PSFT": "Open-Sora + PSFT (base)",
    "flow": "base + ORO (Flow)",
    "depth": "base + ORO (Depth)",
    "seg": "base + ORO (Seg)",
}


@dataclass(frozen=True)
class Finding:
    """One claim of the paper and what this study measured.

    Args:
        claim: in one sentence.
        paper: its number or statement.
        ours: ours, with interval and n.
        status: "reproduced" (same sign, interval excludes no effect), "not reproduced", "cannot be asked here" (a
            ceiling fails the test that would show it), "undecided" (trainings disagree, the interval holds both
            answers, or too few videos could be measured) or "not tested" (it has not run, or holds by design).
        figure: name of the figure that shows it.
        ceiling: what bounds it: the autoencoder alone, or what the first frame tells.
    """

    claim: str
    paper: str
    ours: str
    status: str
    figure: str = ""
    ceiling: str = ""


def findings(results: dict[str, dict]) -> list[Finding]:
    """The paper's findings in its order; those whose notebook has not run are "not tested".

    Args:
        results: notebook name to what it saved.
    """
    made = []
    for claim, paper, notebook, figure, measure in CLAIMS:
        measured = measure(results[notebook]) if notebook in results else None
        ours, status, *ceiling = measured or ("", NOT_TESTED)
        made.append(Finding(claim, paper, ours, status, figure if measured else "", *ceiling))
    return made


def effects(results: dict[str, dict]) -> pd.DataFrame:
    """How large the paper's effects are on unseen objects: its number, ours, and what the best guess would give.

    Args:
        results: notebook name to what it saved.

    Returns:
        Columns what, method, paper, mean, low, high, n, ceiling: relative changes; a row per effect that was measured.
        `what` says where tuning was given up, so that the method is what it started from.
    """
    table_1 = published().set_index("method")
    before = {
        (row["method"], row["metric"]): row["mean"]
        for row in results.get("02_psft", {}).get("summary", [])
        if row["split"] == "unseen"
    }
    rows = []
    for method, (start, notebook, metric) in EFFECTS.items():
        saved = results.get(notebook, {})
        found = [row for row in saved.get("reductions", []) if row["method"] == method]
        found = [row for row in found if row["split"] == "unseen" and row["metric"] == metric]
        if not found:
            continue
        paper, origin = (table_1.loc[IN_TABLE_1[name], f"sim_unseen_{metric}"] for name in (method, start))
        stopped, trainings = _stopped_at_once(saved, method)
        kept = f"\n({start} kept in {stopped} of {trainings})" if stopped else ""
        names = {"what": f"{OFFICIAL[metric]} by {method}{kept}", "paper": paper / origin - 1}
        names["ceiling"] = before.get(("best guess", metric), float("nan")) / before[start, metric] - 1
        rows.append(_negated(found[0]) | names)
    return pd.DataFrame(rows, columns=["what", "method", "paper", "mean", "low", "high", "n", "ceiling"])


def _base_fails(saved) -> tuple:
    found = _row(saved["summary"], method="base", split="unseen", metric="l2")
    gravity = _row(saved["g_eff"], method="base", split="unseen")["median"]
    return f"the base fails by design. L2 {_interval(found)}, median g_eff {_or_none(gravity, '.2f')}", NOT_TESTED


def _psft_helps(saved) -> tuple:
    found = _row(saved["reductions"], method="PSFT", split="unseen", metric="l2")
    gravity = _row(saved["g_eff"], method="PSFT", split="unseen")["median"]
    seen = _row(saved["summary"], method="PSFT", split="unseen", metric="visibility")
    ours = f"by {_share(found)}; median g_eff {_or_none(gravity, '.2f')}; "
    ours += f"object visible in {seen['mean']:.0%} of frames"
    guess = [row for row in saved["reductions"] if row["method"] == "best guess"]  # how far the first frame goes
    bound = f"the best guess from the first frame: {_share(_row(guess, split='unseen', metric='l2'))}" if guess else ""
    return ours, _status(found["low"] > 0), bound


def _few_clips_do(saved) -> tuple | None:
    *rows, most = sorted(saved.get("gain_kept", []), key=lambda row: row["clips"]) or [None]
    if any(row["value"] is None for row in rows):
        return "not measurable", UNDECIDED
    if not rows:
        return None
    said = [f"{row['clips']} clips {row['value']:.0%} [{row['low']:.0%}, {row['high']:.0%}]" for row in rows]
    ours = f"of what {most['clips']} clips gain in fixed L2: {', '.join(said)}, n = {most['n']:.0f}"
    if any(row["low"] >= ENOUGH for row in rows):
        return ours, REPRODUCED
    return ours, UNDECIDED if any(row["high"] >= ENOUGH for row in rows) else NOT_REPRODUCED


def _reward(name: str, metric: str, saved) -> tuple | None:
    rows = [row for row in saved.get("reductions", []) if row["method"] == name]
    if not rows:
        return None
    found = _row(rows, split="unseen", metric=metric)
    ours, holds = f"falls by {_share(found)}", found["low"] > 0
    if metric == "iou":
        ours, holds = f"changes by {_share(_negated(found))}", found["high"] < 0
    stopped, trainings = _stopped_at_once(saved, name)
    if stopped:
        return f"{ours}; no step of its tuning helped validation in {stopped} of {trainings}: PSFT was kept", UNDECIDED
    return ours, _status(holds)


def _stopped_at_once(saved: dict, name: str) -> tuple[int, int]:
    """Trainings whose best validation is that of step 0, so that the tuned model is the one before, and all."""
    looks, metric = {}, saved.get("tuning", {}).get("early_stopping_metric", "fixed_l2")
    for look in saved.get("validations", {}).get(name, []):
        if look[metric] is not None:
            looks.setdefault(look.get("seed"), []).append((look[metric], look["step"]))
    return sum(min(each)[1] == 0 for each in looks.values()), len(looks)


def _no_reward_wins(saved) -> tuple | None:
    rows = [row for row in saved.get("summary", []) if row["split"] == "unseen"]
    rows = [row for row in rows if row["method"] in PAPERS and row["mean"] is not None]
    if "between_rewards" not in saved or len({row["method"] for row in rows}) < 2:
        return None
    best, clear = {}, True
    for metric, short in OFFICIAL.items():
        sign = -1 if metric == "iou" else 1
        first, second, *_ = sorted((row for row in rows if row["metric"] == metric), key=lambda row: sign * row["mean"])
        best[short] = first["method"]
        pair = {"method": first["method"], "than": second["method"], "metric": metric, "split": "unseen"}
        apart = [row for row in saved["between_rewards"] if row.items() >= pair.items()]
        clear &= bool(apart) and (apart[0]["high"] < 0 if metric == "iou" else apart[0]["low"] > 0)
    ours = "best on unseen objects: " + ", ".join(f"{short} {method}" for short, method in best.items())
    status = _status(len(set(best.values())) > 1) if clear else UNDECIDED
    return ours + ("" if clear else "; not all of them surely"), status


def _range_matters(saved) -> tuple:
    ratios, text = saved["outside_over_inside"], "{value:.2f} [{low:.2f}, {high:.2f}], n = {n}"
    found = {method: _row(ratios, method=method) for method in ("PSFT", "ideal", "codec", "best guess")}
    if found["PSFT"]["value"] is None:
        return "not measurable", UNDECIDED
    ours = "median relative error outside over inside " + text.format(**found["PSFT"])
    bounds = [f"{name}: " + text.format(**row) for name, row in found.items() if name != "PSFT" and row["value"]]
    worse = found["PSFT"]["low"] > 1
    pictures = any((found[name]["low"] or 0) > 1 for name in ("ideal", "codec"))  # worse there, whoever films
    return ours, CANNOT_BE_ASKED if worse and pictures else _status(worse), "; ".join(bounds)


def _each_is_possible(saved) -> tuple:
    rows = {row["method"]: row for row in saved["verdicts"]}
    found, codec = rows["PSFT"], rows["codec"]
    ours = f"the two distances a video shows are {_apart(found)} apart (median)"
    bound = f"{_apart(codec)}, {codec['possible']}"
    return ours, _asked(found["possible"], True), f"the truth through the autoencoder: {bound}"


def _apart(row: dict) -> str:
    """The ratio behind a `disagreement`, which is its logarithm."""
    return "(not measurable)" if row["disagreement"] is None else f"a factor of {np.exp(row['disagreement']):.2f}"


def _all_are_not_aligned(saved) -> tuple:
    rows = {row["method"]: row for row in saved["verdicts"]}
    found, codec = rows["PSFT"], rows["codec"]
    ours = f"Wasserstein-1 {_or_none(found['wasserstein'], '.3f')} s, "
    ours += f"spread {_or_none(found['spread'], '.2f')} of the right one; {found['landed']:.0%} of the videos land"
    unclear = found["landed"] < ENOUGH and asked(found["aligned"])
    status = UNDECIDED if unclear else _asked(found["aligned"], False)
    bound = f"{_or_none(codec['wasserstein'], '.3f')} s, {codec['aligned']}"
    return ours, status, f"the truth through the autoencoder: {bound}"


CLAIMS = (  # in the paper's order: claim, its number or statement, notebook, figure, what the notebook's results say
    (
        "Image-to-video models do not know how things fall.",
        "official L2 on unseen simulated objects 0.101 to 0.149 for all models",
        "02_psft",
        "01_references",
        _base_fails,
    ),
    (
        "PSFT on simulated drops teaches the fall.",
        "official L2 on unseen objects falls by 78 %",
        "02_psft",
        "02_before_and_after",
        _psft_helps,
    ),
    ("A small set of simulated clips is enough.", "5,000 clips", "02_psft", "02_data", _few_clips_do),
    *(
        (
            f"A {reward} reward lowers the error further.",
            "official L2 on unseen objects falls by another 21 %",
            "03_oro",
            "03_table",
            partial(_reward, reward, "l2"),
        )
        for reward in ("flow", "depth")
    ),
    (
        "A segmentation reward raises the overlap.",
        "official IoU on unseen objects rises by 12 %",
        "03_oro",
        "03_table",
        partial(_reward, "seg", "iou"),
    ),
    (
        "No reward is best in everything.",
        "flow and depth win L2 and CD and lose IoU, seg wins IoU",
        "03_oro",
        "03_table",
        _no_reward_wins,
    ),
    (
        "Outside the training range of depth and height it gets worse.",
        "error rises outside",
        "04_generalization",
        "04_map_relative",
        _range_matters,
    ),
    (
        "Single trajectories are possible falls.",
        "plausible one by one",
        "05_distribution",
        "05_in_space",
        _each_is_possible,
    ),
    (
        "Their distribution is not that of the worlds.",
        "misaligned",
        "05_distribution",
        "05_fall_times_0",
        _all_are_not_aligned,
    ),
)


def _asked(verdict: str, paper: bool) -> str:
    """The status of a finding whose test the paper's model passes (`paper`), from the verdict on ours."""
    if verdict == DISAGREE:
        return UNDECIDED
    return _status((verdict == PASSES) == paper) if asked(verdict) else CANNOT_BE_ASKED


def _status(holds: bool) -> str:
    return REPRODUCED if holds else NOT_REPRODUCED


def _row(rows: list[dict], **where) -> dict:
    return next(row for row in rows if all(row[key] == value for key, value in where.items()))


def _interval(row: dict) -> str:
    return f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}], n = {row['n']:.0f}"


def _share(row: dict) -> str:
    return f"{row['mean']:.0%} [{row['low']:.0%}, {row['high']:.0%}], n = {row['n']:.0f}"


def _or_none(value: float | None, form: str) -> str:
    return "(not measurable)" if value is None else format(value, form)


def _negated(row: dict) -> dict:
    return row | {"mean": -row["mean"], "low": -row["high"], "high": -row["low"]}
