"""Widgets call plain functions: a moved slider changes the picture, bad values say so."""

from dataclasses import replace

import numpy as np
import pytest

from pisa_kit.clips.clip import Clip
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.viz import figures
from pisa_kit.viz.inspector import inspect_pair
from pisa_kit.viz.widgets import live_curve, playground, try_models

VIDEO = {"size": 32, "frames": 9, "fps": 16}


@pytest.fixture(scope="module")
def truth() -> Clip:
    return simulate(sample(1), **VIDEO)


@pytest.fixture(scope="module")
def methods(truth) -> dict[str, Clip]:
    frozen = simulate(replace(sample(1), gravity=0.0), **VIDEO)
    seen = truth.masks.copy()
    seen[4:] = False
    return {"frozen": frozen, "vanish": replace(truth, masks=seen)}


def test_inspection_pairs_frames_by_time(truth, methods):
    half = replace(methods["frozen"].select(np.arange(0, 9, 2), fps=8.0))
    view = inspect_pair(truth, half)
    np.testing.assert_allclose(view.time, np.arange(5) / 8)
    np.testing.assert_array_equal(view.true_frames, truth.frames[::2])
    assert view.scores["iou"].shape == (5,)


def test_playground_plays_a_new_drop_and_reports_bad_values():
    calls = []

    def drop(height):
        calls.append(height)
        if height > 1:
            raise ValueError("too high")
        return simulate(sample(1).with_drop(height=height), **VIDEO)

    box = playground(drop, height=(0.2, 1.5, 0.8))
    sliders, movie = box.children[0].children
    slider, message = sliders.children
    first = bytes(movie.value)
    assert first[8:12] == b"WEBP" and bytes(box.children[1].value).startswith(b"\x89PNG")
    slider.value = 0.4
    assert bytes(movie.value) != first and calls == [0.8, slider.value]
    slider.value = 1.5
    assert "too high" in message.value


def test_chronophotograph_shows_every_position(truth):
    picture = figures.chronophotograph(truth.frames, truth.dropped)
    last = len(truth) - 1
    for frame in (0, 2, last):
        free = truth.dropped[frame] & ~truth.dropped[frame + 1 :].any(0)
        np.testing.assert_array_equal(picture[free], truth.frames[frame][free])


def test_flow_colours_are_white_where_nothing_moves(truth):
    colours = figures.flow_colours(truth.flow[3])
    assert (colours[~truth.masks[3].any(0)] == 255).all() and (colours[truth.dropped[3]] < 255).any()


def test_the_live_curve_is_drawn_while_training():
    picture, watch = live_curve(every=2)
    assert not picture.value
    seen = []
    for step in range(1, 6):
        watch({"step": step, "loss": 1 / step})
        seen.append(bytes(picture.value))
    assert seen[0] == b"" and seen[1][:4] == b"\x89PNG" and seen[2] == seen[1] != seen[3]


def test_models_film_what_the_sliders_say():
    calls = []

    def film(verb, seed, height):
        calls.append((verb, seed, height))
        if verb == "explodes":
            raise ValueError("cannot <explode>")
        truth = simulate(sample(1).with_drop(height=height), **VIDEO)
        return truth, {"frozen": simulate(replace(sample(1).with_drop(height=height), gravity=0.0), **VIDEO)}

    box = try_models(film, ("falls", "explodes"), height=(0.2, 1.5, 0.8))
    (slider,), (verb, seed, button), message, player = (
        box.children[0].children,
        box.children[1].children,
        box.children[2],
        box.children[3],
    )
    assert [track["name"] for track in player.views[0]["tracks"]] == ["truth", "frozen"]
    slider.value, seed.value = 0.4, 3
    button.click()
    assert calls[-1] == ("falls", 3, 0.4) and len(box.children) == 4 and box.children[3] is not player
    verb.value = "explodes"
    button.click()
    assert "cannot &lt;explode&gt;" in message.value
