"""Questions the paper does not ask, and what this study answers."""

from pisa_kit.metrics.verdicts import DISAGREE, PASSES, asked
from pisa_kit.study.report import CANNOT_BE_ASKED, ENOUGH, NOT_TESTED, UNDECIDED, Finding

HOLDS, DOES_NOT_HOLD = "holds", "does not hold"
INTERVAL = "{value:.2f} [{low:.2f}, {high:.2f}], n = {n:.0f}"


def beyond(results: dict[str, dict]) -> list[Finding]:
    """The study's own claims; their status is "holds", "does not hold", or as of `report.Finding`.

    Args:
        results: notebook name to what it saved.
    """
    made = []
    for claim, notebook, figure, measure in CLAIMS:
        measured = measure(results[notebook]) if notebook in results else None
        ours, status, ceiling = measured or ("", NOT_TESTED, "")
        made.append(Finding(claim, "", ours, status, figure if measured else "", ceiling))
    return made


def _noon(saved) -> tuple | None:
    found = {row["method"]: row for row in saved.get("noon", [])}
    tuned = found.get("PSFT, noon")
    if tuned is None or tuned["value"] is None:
        return None
    before = next(row for row in saved["outside_over_inside"] if row["method"] == "PSFT")
    ours = f"error outside over inside {INTERVAL.format(**tuned)}; where it does not, {INTERVAL.format(**before)}"
    told = saved["distance_told_within"]["outside"]
    return ours, _status(tuned["verdict"]), f"a shadow tells the distance to within {told:.1%} outside"


def _pairs(saved) -> tuple | None:
    found = {row["method"]: row for row in saved["two_objects"] if row["kind"] == "different heights"}
    if "PSFT, pairs" not in found:
        return None
    said = {name: _pair(found[name]) for name in ("PSFT, pairs", "PSFT", "best guess")}
    verdict = next(row for row in saved["checks"] if row["method"] == "PSFT, pairs")["two objects"]
    return f"{said['PSFT, pairs']}; without pairs {said['PSFT']}", _status(verdict), f"best guess: {said['best guess']}"


def _pair(row: dict) -> str:
    ratio = "no ratio" if row["value"] is None else f"a ratio of {row['value']:.2f}"
    return f"{ratio}, {row['measured']} of {row['videos']} measured"


def _energy(saved) -> tuple | None:
    rows = {row["method"]: row for row in saved["verdicts"]}
    tuned, before = rows.get("energy score"), rows.get("ambiguous PSFT")
    if not tuned or not before or None in (tuned["wasserstein"], before["wasserstein"]):
        return None
    form = "Wasserstein-1 {wasserstein:.3f} s, spread {spread:.2f} of the right one"
    ours = f"{form.format(**tuned)}; before it {form.format(**before)}"
    unclear = tuned["landed"] < ENOUGH and asked(tuned["aligned"])
    ours += f"; {tuned['landed']:.0%} of the videos land"
    return (
        ours,
        UNDECIDED if unclear else _status(tuned["aligned"]),
        f"the truth through the autoencoder: {form.format(**rows['codec'])}",
    )


def _replay(saved) -> tuple | None:
    rows = {row["method"]: row for row in saved.get("as_said", [])}
    if "PSFT, replay" not in rows:
        return None
    shares = {name: "{mean:.0%} [{low:.0%}, {high:.0%}]".format(**row) for name, row in rows.items()}
    price = {row["method"]: row["mean"] for row in saved["replay"] if row["metric"] == "l2"}
    ours = f"{shares['PSFT, replay']} of what does not fall moves as said, after PSFT alone {shares['PSFT']}, n = "
    ours += f"{rows['PSFT']['n']:.0f}; official L2 {price['PSFT, replay']:.3f}, alone {price['PSFT']:.3f}"
    status = HOLDS if rows["PSFT, replay"]["low"] > rows["PSFT"]["high"] else DOES_NOT_HOLD
    return ours, status, f"the base: {shares['base']}, the truth: {shares['truth']}"


def _best_of(saved) -> tuple | None:
    count = max((row["N"] for row in saved["best_of"]), default=0)
    rows = {row["choice"]: row for row in saved["best_of"] if row["N"] == count}
    if not rows:
        return None
    form = "{gain:.4f} [{gain_low:.4f}, {gain_high:.4f}]"
    ours = f"{count} videos: fixed L2 lower by {form.format(**rows['newton'])} with newton, which needs no truth, by "
    ours += f"{form.format(**rows['seg'])} with seg, which does, n = {rows['seg']['n']:.0f}"
    status = HOLDS if rows["newton"]["gain_low"] > 0 else DOES_NOT_HOLD
    return ours, status, f"the one nearest to the truth: by {rows['oracle']['gain']:.4f}"


def _without_gradient(saved) -> tuple | None:
    rows = {row["method"]: row for row in saved["without_gradient"] if row["metric"] == "fixed_l2"}
    if "seg, gradient" not in rows:
        return None
    said = [f"{name} {row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" for name, row in rows.items()]
    lower = [f"{row['mean']:.0%} [{row['low']:.0%}, {row['high']:.0%}]" for row in saved["gradient_against"]]
    ours = f"fixed L2: {'; '.join(said)}; with the gradient lower, clip by clip, by {' and '.join(lower)}"
    better = all(row["low"] > 0 for row in saved["gradient_against"])
    return f"{ours}, n = {rows['PSFT']['n']:.0f}", HOLDS if better else DOES_NOT_HOLD, ""


CLAIMS = (  # claim, notebook, figure, what the notebook's results say
    ("With generic clips among the drops, captions keep their meaning.", "02_psft", "02_as_said", _replay),
    (
        "Where the picture tells the distance, the training range does not matter.",
        "04_generalization",
        "04_noon_map",
        _noon,
    ),
    ("Pairs among the training clips teach that two things fall alike.", "04_generalization", "04_two_objects", _pairs),
    ("The energy score makes falls as frequent as they should be.", "05_distribution", "05_fall_times_0", _energy),
    ("Of several videos, the one a reward likes best is better than a random one.", "03_oro", "03_best_of", _best_of),
    ("Tuning through a reward's gradient beats tuning on its values alone.", "03_oro", "", _without_gradient),
)


def _status(verdict: str) -> str:
    if verdict == DISAGREE:
        return UNDECIDED
    if not asked(verdict):
        return CANNOT_BE_ASKED
    return HOLDS if verdict == PASSES else DOES_NOT_HOLD
