"""Labels of failures say of predictors with a known failure what it is, and nothing of right ones."""

from dataclasses import replace

import numpy as np
import pytest

from pisa_kit.metrics.failures import LABELS, pace
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.settings import Ranges
from pisa_kit.sim.simulate import simulate

APART = Ranges(size=(0.3, 0.5), height=(0.9, 1.25))  # the object leaves the place it hung in
SCENES = [sample(seed, APART) for seed in range(4)]


@pytest.fixture(scope="module")
def truths():
    return [simulate(scene, 64, 17, 16) for scene in SCENES]


def stays_behind(truth):
    """The object falls and is still where it was."""
    place = truth.dropped[:1]
    masks = (truth.dropped | place)[:, None]
    return replace(truth, frames=np.where(place[..., None], truth.frames[:1], truth.frames), masks=masks)


def falls_beside(truth):
    """A copy falls beside the object; the tracker follows the object alone."""
    mask = truth.dropped.copy()
    mask[:3] = False
    shift = 24 if np.argwhere(mask[3])[:, 1].mean() < 32 else -24
    copied = np.roll(mask, shift, 2)[..., None]
    return replace(truth, frames=np.where(copied, np.roll(truth.frames, shift, 2), truth.frames))


def vanishes(truth):
    masks = truth.masks.copy()
    masks[5:] = False
    return replace(truth, masks=masks)


MADE = {
    (): lambda truth, scene: truth,
    ("still",): lambda truth, scene: simulate(replace(scene, gravity=0.0), 64, 17, 16),
    ("too_slow",): lambda truth, scene: simulate(replace(scene, gravity=0.25 * scene.gravity), 64, 17, 16),
    ("vanished",): lambda truth, scene: vanishes(truth),
    ("duplicated", "behind"): lambda truth, scene: stays_behind(truth),
    ("duplicated", "beside"): lambda truth, scene: falls_beside(truth),
}


@pytest.mark.parametrize("wanted", MADE, ids=str)
def test_known_failures_get_their_label(wanted, truths):
    for truth, scene in zip(truths, SCENES, strict=True):
        video = MADE[wanted](truth, scene)
        found = {name for name, label in LABELS.items() if label(truth, video) == 1}
        assert found - {"too_slow"} == set(wanted[:1]) - {"too_slow"}
        assert wanted == ("duplicated", "behind") or ("too_slow" in found) == (wanted == ("too_slow",))


def test_pace_is_the_share_of_gravity_before_contact(truths):
    for share in (0.3, 1.0, 1.2):
        made = [simulate(replace(scene, gravity=share * scene.gravity), 64, 17, 16) for scene in SCENES]
        found = [pace(truth, video) for truth, video in zip(truths, made, strict=True)]
        assert np.median(found) == pytest.approx(share, rel=0.15)


def test_what_cannot_be_said_is_nan(truths):
    truth = truths[0]
    masks = np.zeros_like(truth.masks)
    lost = replace(truth, masks=masks)
    assert np.isnan(pace(truth, lost)) and np.isnan(LABELS["still"](truth, lost))
    assert np.isnan(LABELS["duplicated"](truth, lost)) and LABELS["vanished"](truth, lost) == 1
    assert np.isnan(LABELS["vanished"](lost, lost)), "nothing to see in the truth"
    short = truth.select(np.arange(3), 16)
    assert LABELS["vanished"](truth, short) == 1, "what is not filmed is not there"
