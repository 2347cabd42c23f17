"""The numbers of README and docs/results.md are those in figures/results.json."""

import json
from collections import Counter
from pathlib import Path

import pytest

from pisa_kit.study import report, tables
from pisa_kit.study.beyond import beyond

ROOT = Path(__file__).parents[1]
LIMITS = ("mean", "low", "high")
NOTEBOOKS = ("02_psft", "03_oro", "04_generalization", "05_distribution")


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


def test_sentences(results):
    """Numbers inside README's sentences."""
    psft, oro, far, worlds = (results[name] for name in NOTEBOOKS)
    fallen = {(row["split"], row["metric"]): row["mean"] for row in psft["reductions"] if row["method"] == "PSFT"}
    tuned = {row["metric"]: row for row in oro["reductions"] if (row["method"], row["split"]) == ("seg", "unseen")}
    share = "{:.0f} % [{:.0f}, {:.0f}]"
    said = {row["method"]: share.format(*(100 * row[name] for name in LIMITS)) for row in psft["as_said"]}
    price = {row["method"]: row["mean"] for row in psft["replay"] if row["metric"] == "l2"}
    gravity = {row["split"]: row["median"] for row in psft["g_eff"] if row["method"] == "PSFT"}
    out = {row["method"]: row for row in far["outside_over_inside"]}
    noon = {row["method"]: row for row in far["noon"]}["PSFT, noon"]
    before, after = (row for row in worlds["verdicts"] if row["method"] in ("ambiguous PSFT", "energy score"))
    off = {split: abs(median / 9.81 - 1) for split, median in gravity.items()}
    ours, alone = (f"{price[name]:.3f}"[1:] for name in ("PSFT, replay", "PSFT"))
    seen = {(row["method"], row["split"], row["metric"]): row["mean"] for row in oro["summary"]}
    shown = seen["seg", "unseen", "visibility"]
    counted = Counter(one.status for one in report.findings(results))
    number = {status: ("no", "one", "two", "three", "four", "five", "six")[count] for status, count in counted.items()}
    sentences = (
        f"official L2 falls by {100 * fallen['unseen', 'l2']:.0f} %, fixed L2 by half",
        f"gravity is right to {100 * off['unseen']:.0f} % (on seen things to {100 * off['seen']:.0f})",
        f"lower by another {100 * tuned['l2']['mean']:.0f} %, fixed L2 by {100 * tuned['fixed_l2']['mean']:.0f} %",
        f"{psft['as_said'][0]['n']:.0f} clips that should not fall {said['PSFT']} still move as said",
        f"drops {said['PSFT, replay']} (the base: {said['base']}; one training each)",
        f"Official L2 is then {ours} instead of {alone}",
        f"{out['PSFT']['value']:.1f} times the one inside [{out['PSFT']['low']:.1f}, {out['PSFT']['high']:.1f}]",
        f"autoencoder {out['ideal']['value']:.1f} and {out['codec']['value']:.1f}, of a net",
        f"sees one picture {out['best guess']['value']:.1f}",
        f"a shadow tells it to {100 * far['distance_told_within']['outside']:.0f} %",
        f"still has {noon['value']:.1f} times [{noon['low']:.1f}, {noon['high']:.1f}]",
        f"lands in {100 * before['landed']:.0f} % of its videos, fall times {before['spread']:.2f} times as spread",
        f"after the energy score {100 * after['landed']:.0f} %, {after['spread']:.2f} times",
        f"{100 * shown:.0f} % of the frames show the object",
        f"findings {number['reproduced']} are reproduced, {number['not reproduced']} is not, {number['undecided']} are",
    )
    assert [one for one in sentences if one not in words("README.md")] == []
    assert 0.45 < fallen["unseen", "fixed_l2"] < 0.55, "by half"


def test_tables(results):
    lines = tables.headline(results)
    assert len(lines) > 5
    for file in ("README.md", "docs/results.md"):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert "\n".join(lines) in text, file
    for found in (report.findings(results), beyond(results)):
        assert "\n".join(tables.as_markdown(found)) in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
