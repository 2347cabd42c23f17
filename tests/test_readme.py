"""The README's numbers are those the full preset measured."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_numbers():
    results = json.loads((ROOT / "figures" / "results.json").read_text(encoding="utf-8"))
    watch = results["00_watch_stuff_drop"]["results"]
    low, high = watch["g_eff_interval_of_clips"]
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"clips is {watch['g_eff_median']:.2f} m/s² (95 % of clips between {low:.2f} and {high:.2f})" in text
    assert f"right to {watch['fall_time_error_ms_median']:.1f} ms (median)" in text
