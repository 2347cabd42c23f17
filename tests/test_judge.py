"""What the judge says about videos whose faults are known."""

from dataclasses import replace

import numpy as np
import pytest

from pisa_kit.metrics.appearance import background_psnr, object_colour_error
from pisa_kit.metrics.evaluation import evaluate_videos, moves_as_said
from pisa_kit.sim.references import reference_video
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.settings import Ranges
from pisa_kit.sim.simulate import simulate


@pytest.fixture(scope="module")
def truths():
    return [simulate(sample(10_000_000 + seed), name=f"{seed:05d}") for seed in range(4)]


def test_colour_error_is_the_known_shift(truths):
    truth = truths[0]
    assert object_colour_error(truth.frames, truth.dropped) < 0.06
    lighter = truth.frames.copy()
    lighter[1:] = np.clip(lighter[1:].astype(int) + 51, 0, 255)
    still = np.repeat(truth.frames[:1], 4, 0)
    still[1:] = np.clip(still[1:].astype(int) - 51, 0, 255)
    masks = np.repeat(truth.dropped[:1], 4, 0)
    assert object_colour_error(still, masks) == pytest.approx(0.2, abs=0.1)
    assert object_colour_error(lighter, truth.dropped) > object_colour_error(truth.frames, truth.dropped) + 0.05
    assert np.isnan(object_colour_error(truth.frames, np.zeros_like(truth.dropped)))


def test_background_psnr_is_the_noise_that_was_added(truths):
    truth = truths[0]
    noise = np.random.default_rng(0).choice([-10, 10], truth.frames.shape)
    middle = np.full_like(truth.frames, 128)
    grey = replace(truth, frames=middle)
    assert background_psnr(grey, (middle + noise).astype(np.uint8), truth.dropped) == pytest.approx(28.13, abs=0.01)
    painted = middle.copy()
    painted[truth.dropped] = 0
    assert background_psnr(grey, painted, truth.dropped) > 60, "the object is not background"


def test_the_judge_tells_a_fall_from_a_still(truths):
    videos = {name: [reference_video(name, truth, 0, Ranges()) for truth in truths] for name in ("ideal", "frozen")}
    falling, still = (evaluate_videos(truths, videos[name], workers=1) for name in videos)
    assert not falling.failures and list(falling.table["name"]) == [truth.name for truth in truths]
    assert falling.table["g_eff"].median() == pytest.approx(9.81, rel=0.05)
    assert still.table["g_eff"].median() == pytest.approx(0, abs=0.2)
    assert falling.table["fixed_l2"].mean() < 0.3 * still.table["fixed_l2"].mean()
    assert falling.table["background_psnr"].min() > 25 and len(still.videos) == 4


def test_a_clip_without_its_object_in_frame_0_is_a_failure_of_its_own(truths):
    gone = truths[1].masks.copy()
    gone[0] = False
    given = [truths[0], replace(truths[1], masks=gone), truths[2]]
    verdict = evaluate_videos(given, truths[:3], workers=1)
    assert list(verdict.table["name"]) == ["00000", "00002"] and len(verdict.videos) == 3
    [(name, reason)] = verdict.failures
    assert name == "00001" and "frame 0" in reason and not verdict.videos[1].dropped.any()


def test_clips_of_the_same_name_stay_a_row_each(truths):
    given = [replace(truth, name="same") for truth in truths[:2]]
    table = evaluate_videos(given, truths[:2], workers=1).table
    assert len(table) == 2 and table["height"].nunique() == 2


@pytest.mark.parametrize(
    "said, step, moved",
    [("falls", (0, 2), True), ("falls", (0, -2), False), ("rises", (0, -2), True), ("drifts right", (2, 0), True)]
    + [("drifts left", (2, 0), False), ("darts up left", (-2, -2), True), ("darts up left", (-2, 2), False)]
    + [("speeds up", (1, -2), True), ("speeds up", (2, -1), False), ("darts down", (0, 0), False)]
    + [
        ("hovers", (0, 0), True),
        ("hovers", (2, 0), False),
        ("turns left", (0, 0), True),
        ("turns left", (1, 0), False),
    ],
)
def test_motion_is_compared_with_the_caption(said, step, moved):
    masks = np.zeros((5, 64, 64), bool)
    for number in range(5):
        x, y = 30 + number * step[0], 30 + number * step[1]
        masks[number, y : y + 4, x : x + 4] = True
    assert moves_as_said(said, masks) is moved
    masks[1:] = False
    assert moves_as_said(said, masks) is None
