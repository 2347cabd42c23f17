"""Metrics: golden numbers of the released code, closed forms, invariances, edge cases by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from pisa_kit.clips.annotations import dropped_index, read_masks
from pisa_kit.core.errors import InputError
from pisa_kit.metrics.distances import distance_sums
from pisa_kit.metrics.l2_chamfer_iou import (
    VANISHED_CHAMFER,
    VANISHED_L2,
    both_scores,
    centroids,
    compare,
    fixed,
    nearest_frames,
    official,
    official_frames,
    per_frame,
)

GOLDEN = Path(__file__).parent / "golden"
SIZE = 64
FPS = 16


def square(*corners, side=8, size=SIZE):
    """(T, H, W) bool: a square with its first corner at each (x, y); None is an empty frame."""
    masks = np.zeros((len(corners), size, size), bool)
    for mask, corner in zip(masks, corners, strict=True):
        if corner is not None:
            mask[corner[1] : corner[1] + side, corner[0] : corner[0] + side] = True
    return masks


def frame_pairs(count):
    return np.stack([np.arange(count)] * 2, 1)


def noise(seed, density=0.02, frames=3, size=24):
    """Ragged masks with holes, some perhaps empty."""
    return np.random.default_rng(seed).random((frames, size, size)) < density


seeds = st.integers(0, 2**32 - 1)
shifts = st.tuples(st.integers(-8, 8), st.integers(-8, 8))


# --- the released numbers ----------------------------------------------------------------------------------------


def test_official_equals_the_released_code_on_every_golden_pair():
    expected = {row.pop("name"): row for row in json.loads((GOLDEN / "expected_official.json").read_text())}
    lines = (GOLDEN / "pairs.jsonl").read_text().splitlines()
    assert len(lines) == len(expected) == 11
    for line in lines:
        entry = json.loads(line)
        plane = -1
        if "gt_annotation" in entry:
            plane = dropped_index(json.loads((GOLDEN / entry["gt_annotation"]).read_text())["points"])
        truth, prediction = (read_masks(GOLDEN / entry[key])[:, plane] for key in ("gt_mask", "pd_mask"))
        scores = official(truth, entry["gt_fps"], prediction, entry["pd_fps"])
        assert scores == pytest.approx(expected[entry["gt_mask"].removesuffix("_gt.npz")], abs=1e-9)


# --- closed forms ------------------------------------------------------------------------------------------------


def test_shift_by_30_and_40_px_is_50_px_away_but_not_on_the_released_scale():
    truth, prediction = square((10, 5), size=128), square((40, 45), size=128)
    assert fixed(truth, FPS, prediction, FPS)["fixed_l2"] == pytest.approx(50 / 128)
    assert official(truth, FPS, prediction, FPS)["l2"] == pytest.approx((30 + 40) / 2 / np.sqrt(2) / 128)


def test_single_pixels_have_twice_their_distance_as_chamfer():
    truth, prediction = square((10, 5), side=1), square((13, 9), side=1)
    assert fixed(truth, FPS, prediction, FPS)["chamfer"] == pytest.approx(2 * 5 / SIZE)
    assert official(truth, FPS, prediction, FPS)["chamfer_distance"] == pytest.approx(2 * 5 / SIZE / np.sqrt(2))


def test_half_overlap_has_iou_one_third():
    assert fixed(square((8, 8)), FPS, square((12, 8)), FPS)["iou"] == pytest.approx(1 / 3)


def test_centroids_are_mean_indices_x_first_and_nan_where_empty():
    masks = square((10, 20), None, side=4)
    np.testing.assert_allclose(centroids(masks), [[11.5, 21.5], [np.nan, np.nan]])


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_distance_sums_equal_an_exact_distance_transform(seed):
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 30, 2)
    sources = generator.random((4, height, width)) < generator.choice([0.01, 0.1, 0.5])
    sources[:, generator.integers(height), generator.integers(width)] = True
    wanted = generator.random(sources.shape) < 0.3
    expected = [distance_transform_edt(~a)[b].sum() for a, b in zip(sources, wanted, strict=True)]
    np.testing.assert_allclose(distance_sums(sources, wanted), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 250, 40), (1, 600, 20), (1, 20, 600)])
def test_distance_sums_stay_exact_over_long_distances(shape):
    sources, wanted = np.zeros(shape, bool), np.zeros(shape, bool)
    sources[:, 0, 0] = wanted[:, -1, -1] = True
    np.testing.assert_allclose(distance_sums(sources, wanted), np.hypot(shape[1] - 1, shape[2] - 1), rtol=1e-15)


# --- invariances -------------------------------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_identical_masks_are_at_distance_zero_with_iou_one(seed):
    masks = noise(seed, density=0.005)
    comparison = compare(masks, masks, frame_pairs(len(masks)))
    scores = fixed(masks, FPS, masks, FPS)
    assert (scores["fixed_l2"], scores["chamfer"], scores["iou"]) == (0, 0, 1)
    assert official(masks, FPS, masks, FPS)["iou"] == 1
    assert (comparison.chamfer[comparison.both_seen] == 0).all()


@given(seeds, seeds)
@settings(max_examples=30, deadline=None)
def test_both_kinds_of_metrics_are_symmetric(first, second):
    a, b = noise(first), noise(second)
    for metric, names in ((official, ("l2", "chamfer_distance", "iou")), (fixed, ("fixed_l2", "chamfer", "iou"))):
        there, back = metric(a, FPS, b, FPS), metric(b, FPS, a, FPS)
        np.testing.assert_allclose([there[name] for name in names], [back[name] for name in names], rtol=1e-12)


@given(seeds, shifts)
@settings(max_examples=30, deadline=None)
def test_shifting_both_changes_nothing(seed, shift):
    a, b = np.zeros((2, 3, SIZE, SIZE), bool)
    a[:, 20:44, 20:44], b[:, 20:44, 20:44] = noise(seed), noise(seed + 1)
    moved = [np.roll(masks, shift, (1, 2)) for masks in (a, b)]
    for before, after in zip(both_scores(a, FPS, b, FPS), both_scores(moved[0], FPS, moved[1], FPS), strict=True):
        assert after == pytest.approx(before, rel=1e-12, abs=1e-12)


@given(st.lists(st.integers(0, 40), min_size=2, max_size=2, unique=True), st.sampled_from([(1, 0), (0, 1), (1, 1)]))
@settings(max_examples=30, deadline=None)
def test_distances_grow_with_displacement(steps, direction):
    truth = square((4, 4))
    near, far = (square((4 + step * direction[0], 4 + step * direction[1])) for step in sorted(steps))
    for metric, names in ((official, ("l2", "chamfer_distance")), (fixed, ("fixed_l2", "chamfer"))):
        scores = [metric(truth, FPS, prediction, FPS) for prediction in (near, far)]
        assert all(scores[0][name] < scores[1][name] for name in names)


@given(seeds, st.sampled_from([(16, 16), (120, 16), (16, 24), (16, 7.5)]))
@settings(max_examples=20, deadline=None)
def test_both_scores_are_the_two_metrics(seed, rates):
    a, b = noise(seed, frames=9), noise(seed + 1, density=0.003, frames=5)
    together = both_scores(a, rates[0], b, rates[1])
    separate = official(a, rates[0], b, rates[1]), fixed(a, rates[0], b, rates[1])
    for one, other in zip(together, separate, strict=True):
        assert one == pytest.approx(other, rel=1e-12, nan_ok=True)


# --- missing objects ---------------------------------------------------------------------------------------------


def test_one_empty_frame_drops_out_of_official_and_is_charged_by_fixed():
    truth, prediction = square((4, 4), (4, 4)), square((7, 8), None)
    released, corrected = both_scores(truth, FPS, prediction, FPS)
    assert released["l2"] == pytest.approx((3 + 4) / 2 / np.sqrt(2) / SIZE)
    assert corrected["fixed_l2"] == pytest.approx((5 / SIZE + VANISHED_L2) / 2)
    assert per_frame(truth, FPS, prediction, FPS)["chamfer"][1] == VANISHED_CHAMFER
    assert corrected["coverage"] == corrected["visibility"] == 0.5


def test_an_object_where_none_should_be_is_charged_too():
    scores = fixed(square((4, 4), None), FPS, square((4, 4), (4, 4)), FPS)
    assert (scores["fixed_l2"], scores["chamfer"], scores["iou"]) == (0.5, 1.0, 0.5)
    assert scores["coverage"] == 1


def test_both_empty_is_agreement():
    released, corrected = both_scores(square((4, 4), None), FPS, square((4, 4), None), FPS)
    assert released == {"l2": 0, "chamfer_distance": 0, "iou": 1}
    assert (corrected["fixed_l2"], corrected["chamfer"], corrected["iou"]) == (0, 0, 1)


def test_all_empty_prediction_gets_the_whole_penalty():
    released, corrected = both_scores(square((4, 4), (5, 5)), FPS, square(None, None), FPS)
    assert np.isnan(released["l2"]) and np.isnan(released["chamfer_distance"]) and released["iou"] == 0
    assert (corrected["fixed_l2"], corrected["chamfer"], corrected["iou"]) == (VANISHED_L2, VANISHED_CHAMFER, 0)
    assert (corrected["coverage"], corrected["visibility"]) == (0, 0)


def test_all_empty_truth_and_prediction_agree_without_coverage():
    released, corrected = both_scores(square(None, None), FPS, square(None, None), FPS)
    assert np.isnan(released["l2"]) and released["iou"] == 1
    assert (corrected["fixed_l2"], corrected["iou"], corrected["visibility"]) == (0, 1, 0)
    assert np.isnan(corrected["coverage"])


def test_vanishing_is_worse_than_freezing_only_when_corrected():
    truth = square(*[(4, 4 + 3 * step) for step in range(15)])
    frozen = square(*[(4, 4)] * 15)
    vanished = square(*[(4, 4)] * 3, *[None] * 12)
    for name in ("fixed_l2", "chamfer"):
        assert fixed(truth, FPS, vanished, FPS)[name] > fixed(truth, FPS, frozen, FPS)[name]
    for name in ("l2", "chamfer_distance"):
        assert official(truth, FPS, vanished, FPS)[name] < official(truth, FPS, frozen, FPS)[name]


# --- frames in time ----------------------------------------------------------------------------------------------


def test_frames_are_truncated_as_released_and_rounded_when_corrected():
    assert official_frames(130, 120, 3, 16).tolist() == [[0, 0], [7, 1], [15, 2]]
    assert nearest_frames(24, 120, 3, 16).tolist() == [[0, 0], [8, 1], [15, 2]]


def test_the_slower_sequence_sets_the_times():
    assert nearest_frames(3, 8, 6, 16).tolist() == [[0, 0], [1, 2], [2, 4]]
    assert nearest_frames(6, 16, 3, 8).tolist() == [[0, 0], [2, 1], [4, 2]]


def test_a_truth_filmed_faster_is_matched_by_time():
    path = [(4, 4 + step) for step in range(33)]
    scores = fixed(square(*path), 64, square(*path[::4]), 16)
    assert (scores["fixed_l2"], scores["iou"], scores["visibility"]) == (0, 1, 1)
    assert scores["frames_compared"] == scores["frames_expected"] == 9


def test_a_short_prediction_is_charged_for_what_it_lacks():
    truth = square(*[(4, 4)] * 4)
    released, corrected = both_scores(truth, FPS, truth[:3], FPS)
    assert released["l2"] == 0 and released["iou"] == 1
    assert corrected["fixed_l2"] == VANISHED_L2 / 4 and corrected["iou"] == 0.75
    assert (corrected["frames_compared"], corrected["frames_expected"], corrected["coverage"]) == (3, 4, 0.75)
    assert per_frame(truth, FPS, truth[:3], FPS)["compared"].tolist() == [True, True, True, False]


def test_a_short_prediction_equals_one_that_goes_on_empty():
    truth = square(*[(4, 4 + step) for step in range(6)])
    short, empty = truth[:4], np.concatenate([truth[:4], square(None, None)])
    a, b = fixed(truth, FPS, short, FPS), fixed(truth, FPS, empty, FPS)
    assert {**a, "frames_compared": 6} == b


def test_a_last_frame_that_the_truth_does_not_outlast_is_not_owed():
    truth = square(*[(4, 4)] * 5)  # 5 / 16 s: two whole frames at 8 fps and a half
    for count in (2, 3, 4):
        scores = fixed(truth, 16, truth[:count], 8)
        assert scores["fixed_l2"] == 0 and scores["frames_expected"] == min(count, 3)


def test_a_long_prediction_is_cut():
    truth = square(*[(4, 4)] * 4)
    prediction = np.concatenate([truth, square((40, 40), None)])
    released, corrected = both_scores(truth, FPS, prediction, FPS)
    assert released["l2"] == corrected["fixed_l2"] == 0
    assert corrected["visibility"] == 1 and corrected["frames_expected"] == 4


def test_per_frame_is_what_fixed_averages():
    truth, prediction = square((4, 4), (4, 6), (4, 9)), square((4, 4), (6, 6), None)
    frames, scores = per_frame(truth, FPS, prediction, FPS), fixed(truth, FPS, prediction, FPS)
    assert all(frames[name].mean() == pytest.approx(scores[name]) for name in ("fixed_l2", "chamfer", "iou"))
    np.testing.assert_allclose(frames["time"], np.arange(3) / FPS)


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [official, fixed, per_frame, both_scores])
@pytest.mark.parametrize(
    ("truth", "rate", "prediction", "words"),
    [
        (square((4, 4))[:, :32], FPS, square((4, 4))[:, :32], ("truth", "mask", "not square", "nearest neighbour")),
        (square((4, 4)), FPS, square((4, 4), size=32), ("prediction", "mask", "32 px", "nearest neighbour")),
        (square((4, 4))[:0], FPS, square((4, 4)), ("truth", "mask", "(0, 64, 64)", "at least one frame")),
        (square((4, 4)), FPS, square((4, 4)).astype(np.uint8), ("prediction", "mask", "uint8", "bool")),
        (square((4, 4)), 0, square((4, 4)), ("truth", "fps", "is 0", "0.1")),
        (square((4, 4)), "16", square((4, 4)), ("truth", "fps", "'16'", "valid number")),
        (square((4, 4)), np.nan, square((4, 4)), ("truth", "fps", "nan", "finite")),
    ],
)
def test_bad_input_is_named(metric, truth, rate, prediction, words):
    with pytest.raises(InputError) as caught:
        metric(truth, rate, prediction, FPS)
    assert all(word in str(caught.value) for word in words)
