"""The numbers of README and docs/results.md are those in figures/results.json."""

import json
from pathlib import Path

import pytest

from pisa_kit.study import report, tables
from pisa_kit.study.beyond import beyond

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results() -> dict:
    saved = json.loads((ROOT / "figures" / "results.json").read_text(encoding="utf-8"))
    return {name: entry["results"] for name, entry in saved.items()}


def words(file: str) -> str:
    return " ".join((ROOT / file).read_text(encoding="utf-8").split())


def test_gravity_from_pixels(results):
    watch = results["00_watch_stuff_drop"]
    low, high = watch["g_eff_interval_of_clips"]
    said = f"clips is {watch['g_eff_median']:.2f} m/s² (95 % of clips between {low:.2f} and {high:.2f})"
    assert f"{watch['clips']} {said}" in words("README.md")
    assert f"right to {watch['fall_time_error_ms_median']:.1f} ms (median)" in words("README.md")


def test_tables(results):
    lines = tables.headline(results)
    assert len(lines) > 5
    for file in ("README.md", "docs/results.md"):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert "\n".join(lines) in text, file
    for found in (report.findings(results), beyond(results)):
        assert "\n".join(tables.as_markdown(found)) in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
