"""The README's table is the one the full preset measured."""

import json
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
METRICS = {
    "l2": "L2, official",
    "chamfer_distance": "CD, official",
    "iou": "IoU, official",
    "fixed_l2": "L2, fixed",
    "fixed_chamfer_distance": "CD, fixed",
    "coverage": "coverage",
}


def measured() -> dict:
    results = json.loads((ROOT / "figures" / "results.json").read_text(encoding="utf-8"))
    return {name: entry["results"] for name, entry in results.items()}


def table() -> list[str]:
    """Markdown lines from figures/results.json: unseen objects and backgrounds."""
    results = measured()["01_baseline_evaluation"]
    rows = pd.DataFrame(results["tracker_on_truth"]).assign(method="truth, tracked")
    rows = pd.concat([rows, pd.DataFrame(results["summary"]).query("split == 'unseen'")])
    gravity = {row["method"]: row["median"] for row in results["g_eff"] if row["split"] == "unseen"}
    lines = ["| | " + " | ".join(METRICS.values()) + " | g_eff [m/s²] |", "|---" * (len(METRICS) + 2) + "|"]
    for method, group in rows.groupby("method", sort=False):
        means = group.set_index("metric")
        cells = ["{mean:.3f} [{low:.3f}, {high:.3f}]".format(**means.loc[metric]) for metric in METRICS]
        shown = f"{abs(gravity[method]):.2f}" if method in gravity else "–"
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {shown} |")
    return lines


def statements() -> list[str]:
    """The numbers in the README's sentences."""
    watch, baseline = measured()["00_watch_stuff_drop"], measured()["01_baseline_evaluation"]
    low, high = watch["g_eff_interval_of_clips"]
    phone = baseline["phone_gravity"]
    slow = [row["median"] for row in baseline["g_eff"] if row["method"] == "slow gravity" and row["split"] == "unseen"]
    return [
        f"clips is {watch['g_eff_median']:.2f} m/s² (95 % of clips between {low:.2f} and {high:.2f})",
        f"right to {watch['fall_time_error_ms_median']:.1f} ms (median)",
        f"is measured as {slow[0]:.2f}",
        f"{phone['value']:.2f} m/s² [{phone['interval'][0]:.2f}, {phone['interval'][1]:.2f}]",
    ]


def test_statements_are_the_measured_ones():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for statement in statements():
        assert statement in text, statement


def test_table_is_the_measured_one():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for line in table():
        assert line in text, f"missing in README.md:\n{line}"


if __name__ == "__main__":
    print("\n".join(table() + statements()))
