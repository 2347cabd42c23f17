"""The README's table is the one the full preset measured."""

import json
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
METRICS = {
    "l2": "L2, released",
    "chamfer_distance": "CD, released",
    "iou": "IoU",
    "fixed_l2": "L2, corrected",
    "fixed_chamfer_distance": "CD, corrected",
    "coverage": "coverage",
}


def table() -> list[str]:
    """Markdown lines from figures/results.json."""
    results = json.loads((ROOT / "figures" / "results.json").read_text())["01_baseline_evaluation"]["results"]
    summary = pd.DataFrame(results["summary"]).query("split == 'unseen'").set_index(["method", "metric"])
    lines = ["| | " + " | ".join(METRICS.values()) + " | g_eff [m/s²] |", "|---" * (len(METRICS) + 2) + "|"]
    for method, gravity in results["g_eff_median"].items():
        rows = [summary.loc[(method, metric)] for metric in METRICS]
        cells = [f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" for row in rows]
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {abs(gravity):.2f} |")
    return lines


def test_table_is_the_measured_one():
    text = (ROOT / "README.md").read_text()
    for line in table():
        assert line in text, f"missing in README.md:\n{line}"


if __name__ == "__main__":
    print("\n".join(table()))
