"""What rewards see: maps of the right shape, a gradient where it belongs, a widget that follows its controls."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from pisa_kit.sim.motion import Motion
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.training.rewards import REWARD_FUNCTIONS
from pisa_kit.viz.reward_maps import Pushed, draw, look, push_rewards, reward_maps
from pisa_kit.viz.training_figures import reward_and_metrics


@pytest.fixture(scope="module")
def truth():
    return simulate(sample(5), 64, 17, 16)


@pytest.fixture(scope="module")
def film():
    return simulate(sample(5), 64, 17, 16, motion=Motion("hovers", *([(0.0, 0.0, 0.0)] * 3)))


@pytest.mark.parametrize("name", list(REWARD_FUNCTIONS))
def test_maps(truth, film, name):
    maps = reward_maps(name, film, truth)
    shape = (17, 64, 64, 2) if name == "flow" else (17, 64, 64)
    assert maps.seen.shape == maps.wanted.shape == shape and maps.gradient.shape == (17, 64, 64)
    assert np.isfinite(maps.gradient).all() and maps.gradient.max() > 0
    if name != "newton":  # which compares with nothing
        assert maps.loss > reward_maps(name, truth, truth).loss
    figure = draw(maps, 8)
    assert name in figure.get_suptitle() and len(figure.axes) == 4
    plt.close(figure)


def test_the_widget_follows(truth, film):
    box = look([truth, truth], [film, truth], ["seg", "depth"])
    (clip, reward, frame), picture = box.children[0].children, box.children[1]
    seen = {picture.value}
    for control, value in ((frame, 3), (reward, "depth"), (clip, 1)):
        control.value = value
        seen.add(picture.value)
    assert len(seen) == 4


@pytest.fixture(scope="module")
def pushed(truth):
    return Pushed(truth)


def test_a_pushed_object_is_where_it_was_pushed(truth, pushed):
    np.testing.assert_array_equal(pushed.clip(0, 0).frames, truth.frames)
    clip = pushed.clip(6, -4)
    np.testing.assert_array_equal(clip.frames[0], truth.frames[0])
    moved = np.roll(truth.dropped[3], (-4, 6), (0, 1))
    np.testing.assert_array_equal(clip.frames[3][moved], truth.frames[3][truth.dropped[3]])


@pytest.mark.parametrize("name", ["seg", "depth", "centre"])
def test_a_reward_pulls_the_object_back_as_fast_as_its_loss_falls(pushed, name):
    loss, gradient, (right, down) = pushed.pull(name, 4, -3)
    assert right < 0 < down and gradient.shape == (17, 64, 64) and loss > pushed.pull(name, 0, 0)[0]
    for along, (x, y) in ((right, (0.5, 0)), (down, (0, 0.5))):
        after, before = (pushed.pull(name, 4 + k * x, -3 + k * y)[0] for k in (1, -1))
        assert 0.2 < along / (before - after) < 5, "to first order"


def test_the_playground_follows_its_sliders(truth):
    box = push_rewards(truth, ["seg", "flow"])
    (right, down, frame), picture = box.children[0].children, box.children[1]
    seen = {picture.value}
    for control, value in ((right, 5), (down, -5), (frame, 2)):
        control.value = value
        seen.add(picture.value)
    assert len(seen) == 4


def test_reward_beside_metrics():
    log = [{"step": step, "loss": 1.0 / step} for step in range(1, 9)]
    eval_steps = [{"step": step, "l2": 0.1, "fixed_iou": 0.3} for step in (0, 4, 8)]
    figure = reward_and_metrics({"seg": log}, {"seg": eval_steps}, ("l2", "fixed_iou"))
    assert [len(axis.lines) for axis in figure.axes] == [1, 1, 1]
    assert list(figure.axes[1].lines[0].get_xdata()) == [0, 4, 8]
    plt.close(figure)
