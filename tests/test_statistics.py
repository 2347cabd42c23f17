"""Intervals over clips and seeds: the known ones for many values, wider where trainings differ."""

import numpy as np
import pandas as pd
import pytest

from pisa_kit.metrics.statistics import bootstrap, matrix, mean, median, readable, reduction, skill, slopes, summarise


def test_the_interval_is_the_normal_one_for_many_values():
    values = np.random.default_rng(1).normal(3, 2, 400)
    result = bootstrap(mean, values)
    assert result["value"] == pytest.approx(values.mean()) and (result["n"], result["seeds"]) == (400, 1)
    assert (result["high"] - result["low"]) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert bootstrap(mean, values) == result != bootstrap(mean, values, seed=1)


def test_trainings_that_differ_widen_the_interval():
    rng = np.random.default_rng(0)
    clips = rng.normal(0, 1, (1, 200))
    alike = bootstrap(mean, clips + np.zeros((5, 1)))
    apart = bootstrap(mean, clips + np.array([[-1.0], [-0.5], [0.0], [0.5], [1.0]]))
    width = lambda found: found["high"] - found["low"]  # noqa: E731
    assert width(alike) == pytest.approx(2 * 1.96 / np.sqrt(200), rel=0.15), "the same clips in every seed"
    assert width(apart) == pytest.approx(2 * 1.96 * np.sqrt(0.5 / 5 + 1 / 200), rel=0.25)


def test_the_interval_covers_as_often_as_it_says():
    rng, inside = np.random.default_rng(0), 0
    for number in range(200):
        values = rng.normal(0, 1, (1, 40)) + rng.normal(0, 0.5, (12, 1)) + rng.normal(0, 0.5, (12, 40))
        found = bootstrap(mean, values, resamples=300, seed=number)
        inside += found["low"] < 0 < found["high"]
    assert 0.88 <= inside / 200 <= 0.99


def test_missing_values_are_counted_out():
    found = bootstrap(mean, np.array([[1.0, np.nan, np.nan], [1.0, np.nan, 1.0]]))
    assert (found["value"], found["low"], found["high"], found["n"]) == (1, 1, 1, 2)
    found = bootstrap(mean, np.array([np.nan]))
    assert found["n"] == 0 and np.isnan(found["value"])
    assert bootstrap(mean, np.empty(0))["n"] == 0


def test_groups_of_other_clips_are_drawn_apart():
    rng = np.random.default_rng(0)
    over = lambda one, other: mean(one) / mean(other)  # noqa: E731
    same = bootstrap(over, rng.uniform(1, 2, 60), rng.uniform(1, 2, 40), together=False)
    assert same["low"] < 1 < same["high"] and same["n"] == 100
    twice = bootstrap(over, rng.uniform(2, 4, 60), np.r_[np.nan, rng.uniform(1, 2, 60)], together=False)
    assert twice["low"] > 1.5
    assert np.isnan(bootstrap(over, np.full(3, np.nan), np.ones(3), together=False)["value"])
    lost = np.r_[np.full(60, 0.05), 16.0]  # one object lost for a frame
    typical = lambda one, other: median(one) / median(other)  # noqa: E731
    assert bootstrap(typical, lost, np.full(20, 0.05), together=False)["high"] == 1
    assert bootstrap(over, lost, np.full(20, 0.05), together=False)["value"] > 5


def test_a_matrix_has_a_row_per_seed_and_a_column_per_clip():
    rows = pd.DataFrame({"seed": [0, 0, 1], "name": ["a", "b", "b"], "x": [1, 2, 3]})
    np.testing.assert_array_equal(matrix(rows, "x"), [[1, 2], [np.nan, 3]])
    np.testing.assert_array_equal(matrix(rows, "x", ["b", "a"]), [[2, 1], [3, np.nan]])
    np.testing.assert_array_equal(matrix(rows.assign(name="a"), "x"), [[1, 2], [3, np.nan]])
    np.testing.assert_array_equal(matrix(rows, "x", ["c", "b"])[:, 0], [np.nan] * 2, "a clip that nobody has")


def test_summaries_by_group_are_those_of_the_groups():
    table = pd.DataFrame({"split": ["seen", "unseen", "seen"], "name": ["a", "a", "b"], "iou": [0.2, 0.5, 0.4]})
    summary = summarise(table, ["iou"], by=["split"])
    assert summary.columns.tolist() == ["split", "metric", "mean", "low", "high", "n", "seeds"]
    assert summary["mean"].tolist() == pytest.approx([0.3, 0.5]) and summary["n"].tolist() == [2, 1]
    alone = summarise(table[table["split"] == "seen"], ["iou"])
    assert alone.iloc[0].to_dict() == summary.iloc[0].drop("split").to_dict()
    assert readable(summary)["iou"]["unseen"] == "0.500 [0.500, 0.500]"
    assert readable(summary, percent=True)["iou"]["unseen"] == "+50% [+50%, +50%]"


def test_reduction_is_a_ratio_of_means_with_a_paired_interval():
    rng = np.random.default_rng(0)
    before = rng.uniform(0.1, 0.3, (1, 200))
    exact = reduction(before, 0.25 * before)
    assert exact == pytest.approx({"mean": 0.75, "low": 0.75, "high": 0.75, "n": 200, "seeds": 1})
    noisy = reduction(before, rng.uniform(0, 0.1, (1, 200)))
    assert noisy["low"] < noisy["mean"] < noisy["high"] and 0.02 < noisy["high"] - noisy["low"] < 0.2
    before[:, :50] = np.nan
    assert reduction(before, before)["n"] == 150


def test_skill_is_0_for_the_base_and_1_for_the_best_guess():
    rng = np.random.default_rng(0)
    base, guess = rng.uniform(2, 3, (3, 50)), rng.uniform(0, 1, (1, 50))
    assert skill(base, guess, base)["value"] == 0 and skill(base, guess, guess)["value"] == pytest.approx(1)
    half = skill(base, guess, (base + guess) / 2)
    assert half["low"] <= half["value"] <= half["high"] and half["value"] == pytest.approx(0.5)


def test_slopes_find_what_was_put_in():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"height": rng.uniform(0, 2, 200), "size": rng.uniform(0, 1, 200), "name": range(200)})
    table["g_eff"] = 5 + 2 * table["height"] + 0.3 * rng.standard_normal(200)
    found = slopes(table, "g_eff", ("height", "size")).set_index("by")
    assert found.loc["height", "low"] < 2 < found.loc["height", "high"] and found.loc["height", "low"] > 1.5
    assert found.loc["size", "low"] < 0 < found.loc["size", "high"]
    assert found.loc["height", "effect"] == pytest.approx(4 * table["height"].std(), rel=0.1)
    lost = table.assign(g_eff=table["g_eff"].where(table["name"] % 2 == 0))
    half = slopes(lost, "g_eff", ("height", "size")).set_index("by")
    direct = np.polynomial.polynomial.polyfit(lost.dropna()["height"], lost.dropna()["g_eff"], 1)[1]
    assert half.loc["height", "n"] == 100 and half.loc["height", "slope"] == pytest.approx(direct, abs=0.05)
    few = slopes(table[:4], "g_eff", ("height", "size"))
    assert few["slope"].isna().all() and (few["n"] == 4).all()


def test_a_reduction_pairs_what_both_have():
    before, after = np.array([[1.0, 1, 1, 9]]), np.array([[0.5, 0.5, 0.5, np.nan]])
    assert reduction(before, after)["mean"] == pytest.approx(0.5)
