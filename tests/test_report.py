"""The report says what the results say, and nothing about what has not run."""

import numpy as np
import pytest

from pisa_kit.metrics.verdicts import DISAGREE
from pisa_kit.study import report, tables
from pisa_kit.study.beyond import DOES_NOT_HOLD, HOLDS, beyond
from pisa_kit.study.report import CANNOT_BE_ASKED, NOT_REPRODUCED, NOT_TESTED, REPRODUCED, UNDECIDED
from pisa_kit.viz import training_figures


def row(method, split, metric, mean):
    return {
        "method": method,
        "split": split,
        "metric": metric,
        "mean": mean,
        "low": mean - 0.01,
        "high": mean + 0.01,
        "n": 9,
    }


def change(method, metric, mean, split="unseen"):
    found = {"split": split, "metric": metric, "mean": mean, "low": mean - 0.05, "high": mean + 0.05, "n": 9}
    return found | {"method": method}


@pytest.fixture
def results():
    scores = [
        row(method, split, metric, mean)
        for method, mean in {"base": 0.2, "PSFT": 0.1}.items()
        for split in ("seen", "unseen")
        for metric in ("l2", "chamfer_distance", "iou", "visibility")
    ]
    psft = {
        "summary": scores,
        "reductions": [change("PSFT", "l2", 0.5), change("best guess", "l2", 0.7)],
        "g_eff": [
            {"method": "base", "split": "unseen", "median": 1.0},
            {"method": "PSFT", "split": "unseen", "median": 9.0},
        ],
        "gain_kept": [
            {"clips": count, "value": value, "low": value - 0.1, "high": value + 0.1, "n": 9}
            for count, value in {1024: 1.0, 16: 0.6, 128: 0.95}.items()
        ],
    }
    tuned = [
        row("seg", split, metric, 0.1) for split in ("seen", "unseen") for metric in ("l2", "chamfer_distance", "iou")
    ]
    oro = {
        "summary": tuned,
        "rewards": {"seg": {}, "flow": {}},
        "reductions": [change("seg", "iou", -0.12), change("flow", "l2", 0.02)],
    }
    return {"02_psft": psft, "03_oro": oro}


def test_status_follows_the_interval(results):
    found = {one.claim: one for one in report.findings(results)}
    status = {claim.split()[1]: one.status for claim, one in found.items()}
    assert found["PSFT on simulated drops teaches the fall."].status == REPRODUCED
    assert status["segmentation"] == REPRODUCED, "IoU rises, the whole interval is on one side"
    assert status["flow"] == NOT_REPRODUCED, "the interval includes no change"
    assert status["depth"] == NOT_TESTED and status["the"] == NOT_TESTED
    results["02_psft"]["reductions"] = [change("PSFT", "l2", 0.03)]
    assert report.findings(results)[1].status == NOT_REPRODUCED


def test_effects_are_changes_beside_the_paper_and_the_best_guess(results):
    results["02_psft"]["summary"].append(row("best guess", "unseen", "l2", 0.05))
    found = report.effects(results).set_index("method")
    assert list(found.index) == ["PSFT", "flow", "seg"], "depth was not measured"
    assert list(found.loc["PSFT", ["paper", "mean", "low", "high"]]) == pytest.approx(
        [0.028 / 0.130 - 1, -0.5, -0.55, -0.45]
    )
    assert list(found["ceiling"])[:2] == pytest.approx([0.05 / 0.2 - 1, 0.05 / 0.1 - 1])
    assert found.loc["seg", "mean"] == pytest.approx(0.12) and found.loc["seg", "what"] == "IoU by seg"
    assert np.isnan(found.loc["seg", "ceiling"]), "the best guess has no IoU here"
    assert training_figures.effects(found.reset_index()).axes[0].get_yticks().size == 3
    assert report.effects({}).empty
    results["03_oro"]["validations"] = {"flow": [{"seed": 0, "step": step, "fixed_l2": 0.2 + step} for step in (0, 24)]}
    assert list(report.effects(results)["what"]) == ["L2 by PSFT", "L2 by flow\n(PSFT kept in 1 of 1)", "IoU by seg"]


@pytest.mark.parametrize(("share", "status"), [(0.95, REPRODUCED), (0.85, UNDECIDED), (0.65, NOT_REPRODUCED)])
def test_few_clips_are_enough_where_they_surely_keep_the_gain(results, share, status):
    results["02_psft"]["gain_kept"][2] |= {"value": share, "low": share - 0.1, "high": share + 0.1}
    found = report.findings(results)[2]
    assert found.status == status and f"16 clips 60% [50%, 70%], 128 clips {share:.0%}" in found.ours
    results["02_psft"]["gain_kept"][2]["value"] = None
    assert report.findings(results)[2].ours == "not measurable"
    results["02_psft"]["gain_kept"] = results["02_psft"]["gain_kept"][:1]
    assert report.findings(results)[2].status == NOT_TESTED, "nothing to compare with"


def test_the_base_cannot_be_tested_for_what_it_was_made_to_do(results):
    assert report.findings(results)[0].status == NOT_TESTED and "by design" in report.findings(results)[0].ours


def test_a_tuning_that_changed_nothing_says_nothing(results):
    looks = [
        {"seed": seed, "step": step, "fixed_l2": 0.2 + step * slope}
        for seed, slope in ((0, -1), (1, 1))
        for step in (0, 24)
    ]
    for validations, status in ((looks[:2], NOT_REPRODUCED), (looks[2:], UNDECIDED), (looks, UNDECIDED)):
        results["03_oro"]["validations"] = {"flow": validations}
        [found] = [one for one in report.findings(results) if one.claim.startswith("A flow")]
        assert found.status == status and ("PSFT was kept" in found.ours) == (status == UNDECIDED)
    assert "1 of 2" in found.ours


@pytest.mark.parametrize(("iou", "status"), [(0.3, REPRODUCED), (0.01, NOT_REPRODUCED), (0.105, UNDECIDED)])
def test_no_reward_wins_only_if_the_differences_are_clear(results, iou, status):
    for name, value in {"flow": iou, "combined": 0.9}.items():  # whose reward is not the paper's
        errors = {"l2": 0.2, "chamfer_distance": 0.2, "iou": value}
        results["03_oro"]["summary"] += [row(name, "unseen", metric, error) for metric, error in errors.items()]
    surely = {"l2": 0.2, "chamfer_distance": 0.2, "iou": -0.5}
    results["03_oro"]["between_rewards"] = [
        change(first, metric, mean) | {"than": second}
        for metric, mean in surely.items()
        for first, second in (("seg", "flow"), ("flow", "seg"))
        if (iou, metric) != (0.105, "iou")
    ]
    [found] = [one for one in report.findings(results) if one.claim.startswith("No reward")]
    assert found.status == status


@pytest.mark.parametrize(
    ("low", "ratio", "codec", "status"),
    [
        (1.2, 1.5, 0.9, REPRODUCED),
        (0.9, 1.5, 0.9, NOT_REPRODUCED),
        (None, None, 0.9, UNDECIDED),
        (1.2, 1.5, 1.1, CANNOT_BE_ASKED),
    ],
)
def test_outside_the_range(results, low, ratio, codec, status):
    line = {"value": 1.2, "low": codec, "high": 2.0, "n": 9}
    lines = [{"method": "PSFT", "value": ratio, "low": low, "high": 2.0, "n": 9}]
    lines += [line | {"method": name} for name in ("ideal", "codec", "best guess")]
    results["04_generalization"] = {"outside_over_inside": lines}
    [found] = [one for one in report.findings(results) if one.claim.startswith("Outside")]
    assert found.status == status and (low is None or "codec: 1.20" in found.ceiling)


@pytest.mark.parametrize(
    ("landed", "aligned", "status"),
    [
        (1.0, "fails", REPRODUCED),
        (1.0, "passes", NOT_REPRODUCED),
        (0.1, "fails", UNDECIDED),
        (1.0, DISAGREE, UNDECIDED),
        (0.1, "cannot be asked here: codec alone gives p = 0.001", CANNOT_BE_ASKED),
        (1.0, "cannot be asked here: codec alone gives p = 0.001", CANNOT_BE_ASKED),
    ],
)
def test_what_cannot_be_measured_or_asked_is_not_a_finding(results, landed, aligned, status):
    line = {"method": "PSFT", "possible": "fails", "aligned": aligned, "landed": landed, "spread": None}
    line |= {"disagreement": None, "wasserstein": None}
    codec = line | {"method": "codec", "disagreement": 0.01, "wasserstein": 0.001}
    results["05_distribution"] = {"verdicts": [line, codec]}
    found = report.findings(results)[-1]
    assert found.status == status and "(not measurable)" in found.ours and "0.001 s" in found.ceiling
    assert "a factor of 1.01, fails" in report.findings(results)[-2].ceiling


def test_claims_beyond_the_paper_follow_their_tests():
    ratio = {"value": 1.2, "low": 0.9, "high": 1.6, "n": 9}
    pair = {"kind": "different heights", "value": 1.01, "measured": 12, "videos": 16}
    fall = {"wasserstein": 0.01, "spread": 0.9, "aligned": "fails", "landed": 1.0}
    best = {"choice": "seg", "N": 8, "gain": 0.01, "gain_low": 0.001, "gain_high": 0.02, "n": 9}
    share = {"mean": 0.1, "low": 0.05, "high": 0.2, "n": 9}
    kept = {"truth": 1.0, "base": 0.9, "PSFT": 0.1, "PSFT, replay": 0.8}
    results = {
        "02_psft": {
            "as_said": [share | {"method": name, "mean": mean, "low": mean - 0.1} for name, mean in kept.items()],
            "replay": [row(name, "unseen", "l2", 0.02) for name in ("PSFT", "PSFT, replay")],
        },
        "04_generalization": {
            "noon": [ratio | {"method": "PSFT, noon", "verdict": "passes"}],
            "distance_told_within": {"inside": 0.01, "outside": 0.02},
            "outside_over_inside": [ratio | {"method": "PSFT"}],
            "two_objects": [pair | {"method": name} for name in ("PSFT", "PSFT, pairs", "best guess")],
            "checks": [{"method": "PSFT, pairs", "two objects": "cannot be asked here: best guess"}],
        },
        "05_distribution": {
            "verdicts": [fall | {"method": name} for name in ("energy score", "ambiguous PSFT", "codec")]
        },
        "03_oro": {
            "best_of": [best | {"choice": choice} for choice in ("random", "seg", "newton", "oracle")],
            "gradient_against": [change("seg, gradient", "fixed_l2", 0.02) | {"against": "seg, nft"}],
            "without_gradient": [
                row(name, "unseen", "fixed_l2", 0.1) for name in ("PSFT", "seg, gradient", "seg, nft")
            ],
        },
    }
    found = beyond(results)
    assert [one.status for one in found] == [HOLDS, HOLDS, CANNOT_BE_ASKED, DOES_NOT_HOLD, HOLDS, DOES_NOT_HOLD]
    assert "2.0% outside" in found[1].ceiling and "12 of 16" in found[2].ours and "80% [70%" in found[0].ours
    lines = tables.as_markdown(found)
    assert all(line.count("|") == lines[0].count("|") for line in lines) and "paper" not in tables.as_frame(found)
    assert "fixed L2 lower by 0.0100 [0.0010, 0.0200] with newton" in found[4].ours
    results["03_oro"]["best_of"][2]["gain_low"] = -0.001
    results["03_oro"]["gradient_against"][0]["low"] = 0.01
    assert [one.status for one in beyond(results)][4:] == [DOES_NOT_HOLD, HOLDS]
    assert {one.status for one in beyond({})} == {NOT_TESTED}
    for row_ in results["05_distribution"]["verdicts"]:
        row_["landed"] = 0.7
    assert beyond(results)[3].status == UNDECIDED, "too few land"
    for row_ in results["05_distribution"]["verdicts"]:
        row_ |= {"landed": 1.0, "aligned": DISAGREE}
    assert beyond(results)[3].status == UNDECIDED
    without = results["04_generalization"] | {"noon": [], "two_objects": []}
    assert [one.status for one in beyond({"04_generalization": without})][1:3] == [NOT_TESTED] * 2


def test_nothing_has_run():
    assert tables.table({})["method"].str.startswith("paper").all()
    assert {one.status for one in report.findings({})} == {NOT_TESTED}


def test_table_holds_ours_and_the_published_rows(results):
    table = tables.table(results).set_index("method")
    assert table.loc["ours: PSFT", "unseen L2"] == "0.100 [0.090, 0.110]"
    assert table.loc["paper: Open-Sora + PSFT (base)", "unseen L2"] == "0.028"
    assert not table.isna().any().any()


@pytest.mark.parametrize(("mean", "status"), [(-0.12, REPRODUCED), (-0.02, NOT_REPRODUCED), (0.12, NOT_REPRODUCED)])
def test_an_overlap_that_does_not_surely_rise_is_not_reproduced(mean, status):
    found = report.findings({"03_oro": {"reductions": [change("seg", "iou", mean)]}})
    assert [one.status for one in found if one.claim.startswith("A segmentation")] == [status]


@pytest.mark.parametrize("worse", ["ideal", "codec"])
def test_one_ceiling_that_gets_worse_outside_is_enough(worse):
    lines = [
        {"method": name, "value": 1.2, "low": 1.1 if name in ("PSFT", worse) else 0.9, "high": 2.0, "n": 9}
        for name in ("PSFT", "ideal", "codec", "best guess")
    ]
    found = report.findings({"04_generalization": {"outside_over_inside": lines}})
    assert [one.status for one in found if one.claim.startswith("Outside")] == [CANNOT_BE_ASKED]


def test_a_claim_holds_only_outside_the_intervals_and_against_all():
    means = {"truth": 1.0, "base": 0.9, "PSFT": 0.1, "PSFT, replay": 0.3}
    said = [
        {"method": name, "mean": mean, "low": mean - 0.1, "high": mean + 0.3, "n": 9} for name, mean in means.items()
    ]
    gradient = {
        "best_of": [],
        "gradient_against": [change("seg, gradient", "fixed_l2", mean) for mean in (0.02, 0.3)],
        "without_gradient": [row(name, "unseen", "fixed_l2", 0.1) for name in ("PSFT", "seg, gradient")],
    }
    price = [row(name, "unseen", "l2", 0.02) for name in ("PSFT", "PSFT, replay")]
    found = beyond({"02_psft": {"as_said": said, "replay": price}, "03_oro": gradient})
    assert found[0].status == found[5].status == DOES_NOT_HOLD
