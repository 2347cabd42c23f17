"""Maps, two falling objects and slopes: what a true simulator passes, and what the references must fail."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pisa_kit.metrics.evaluation import before_contact, evaluate_videos
from pisa_kit.metrics.generalization import checks, outside, ratio_of_heights
from pisa_kit.metrics.statistics import slopes
from pisa_kit.perception.trackers import track_clips
from pisa_kit.sim import references
from pisa_kit.sim.probes import cells, focus, noon, release_two, scenes_in, shadow_distance
from pisa_kit.sim.scenes import Scene
from pisa_kit.sim.settings import Ranges
from pisa_kit.sim.simulate import simulate
from pisa_kit.study.presets import PRESETS

FULL, RANGES = PRESETS["full"], Ranges()
VIDEO = {"size": 64, "frames": 17, "fps": 16}


def reference_videos(method: str, truths):
    return [references.reference_video(method, truth, 0, RANGES) for truth in truths]


@pytest.fixture(scope="module")
def pairs():
    return [simulate(release_two(seed, RANGES), **VIDEO, name=str(seed)) for seed in range(16)]


@pytest.fixture(scope="module")
def on_map():
    grid = cells((2.0, 2.75, 3.5, 5.0), (0.5, 1.25, 2.0), RANGES)
    return [simulate(scene, **VIDEO) for cell in grid for scene in scenes_in(cell, RANGES, range(8))]


def test_cells_lie_in_view_and_know_the_training_range():
    grid = cells(FULL.generalization.distances, FULL.generalization.heights, RANGES)
    inside = [cell for cell in grid if cell.inside]
    assert len(inside) == 3 and len(grid) == 15, "what is large, near and high does not fit into the picture"
    for cell in grid:
        for scene in scenes_in(cell, RANGES, range(3)):
            assert cell.distance[0] <= scene.distance <= cell.distance[1] and scene.in_view()
            assert cell.height[0] - 1e-6 <= scene.height <= cell.height[1] + 1e-6


def test_at_noon_the_picture_tells_the_distance_and_otherwise_it_does_not():
    grid = cells((2.0, 3.5, 5.0), (0.5, 1.25), RANGES)

    def wrong(at_noon):
        scenes = [scene for cell in grid for scene in scenes_in(cell, RANGES, range(10), at_noon)]
        told = [shadow_distance(simulate(scene, **VIDEO)) / scene.distance - 1 for scene in scenes]
        return np.nanmedian(np.abs(told)), np.isnan(told).mean()

    (at_noon, hidden), (otherwise, _) = wrong(True), wrong(False)
    assert at_noon < 0.05 and hidden < 0.2 and otherwise > 2 * at_noon
    scenes = [noon(seed, RANGES) for seed in range(5)]
    assert {(scene.camera_height, scene.floor.tile) for scene in scenes} == {(0.5, 0.5)}, "rulers of one length"


@pytest.mark.parametrize(
    ("codec", "tuned", "inside", "said"),
    [(1.2, 1.1, 0.1, "passes"), (1.2, 2.0, 0.1, "fails"), (1.2, 1.0, 0.9, "fails"), (1.9, 1.1, 0.1, "cannot")],
)
def test_outside_in_pictures_that_tell_the_distance(codec, tuned, inside, said):
    rows = [("ideal", 1.0, 0.05), ("codec", codec, 0.1), ("PSFT, noon", tuned, inside), ("best guess", 9.0, 0.1)]
    ratios = pd.DataFrame(rows, columns=["method", "value", "inside"])
    assert outside(ratios)["PSFT, noon"].startswith(said)


def test_two_objects_fall_together_as_the_formula_says(pairs):
    for truth in pairs:
        scene = Scene.from_dict(truth.info["scene"])
        assert len(scene.things) == 2 and scene.things[0].colour != scene.things[1].colour
        for index, thing in enumerate(scene.things):
            time = float(focus(truth, index).contacts[0])
            until = int(time * truth.fps)
            height = truth.poses[: until + 1, index, 2]
            expected = thing.position[2] - 9.81 * truth.times[: until + 1] ** 2 / 2
            np.testing.assert_allclose(height, expected, atol=1e-6)
            np.testing.assert_allclose(
                truth.velocities[: until + 1, index, 2], -9.81 * truth.times[: until + 1], atol=1e-6
            )
        assert float(focus(truth, 1).contacts[0]) == pytest.approx(truth.contacts[0], abs=0.003)


def test_equal_heights_land_together():
    for seed in range(5):
        scene = release_two(seed, RANGES, same_height=True)
        low = [thing.bounds[0][2] for thing in scene.things]
        sizes = sorted(thing.size for thing in scene.things)
        assert low[0] == pytest.approx(low[1]) and sizes[1] / sizes[0] >= 1.25


def test_the_ideal_passes_the_two_object_test_and_frozen_has_no_answer(pairs):
    def ratio(method):
        videos = reference_videos(method, pairs)
        views = [[focus(truth, index) for truth in pairs] for index in (0, 1)]
        tracked = [track_clips(videos, view, 1) for view in views]
        return ratio_of_heights(pairs, tracked)["ratio"].dropna()

    ideal = ratio("ideal")
    # with true masks 14 of the 16 pairs are measured; near each other, large things are sometimes taken for one
    assert len(ideal) >= 10 and ideal.median() == pytest.approx(1, abs=0.03)
    assert ratio("frozen").empty


def ratios_if(pairs, fallen) -> np.ndarray:
    """The test's ratios for videos in which objects go down by `fallen(times, height, size)` metres."""
    videos = []
    for truth in pairs:
        masks = np.zeros_like(truth.masks)
        for index, mask in enumerate(truth.masks[0]):
            scale = truth.camera.focal / truth.poses[0, index, 1]
            thing = Scene.from_dict(truth.info["scene"], truth.name).things[index]
            fall = fallen(truth.times, thing.bounds[0][2], thing.size)
            for frame, down in enumerate((fall * scale).round().astype(int)):
                masks[frame, index, down:] = mask[: len(mask) - down] if down < len(mask) else False
        videos.append(replace(truth, masks=masks))
    tracked = [[focus(film, index) for film in videos] for index in (0, 1)]
    return ratio_of_heights(pairs, tracked)["ratio"].to_numpy()


def test_what_falls_through_the_floor_has_not_landed(pairs):
    assert np.isfinite(ratios_if(pairs, lambda times, *_: 9.81 * times**2 / 2)).mean() <= 0.02


def test_two_objects_that_always_take_the_same_time_fail(pairs):
    gravity = ratios_if(pairs, lambda times, height, _: np.minimum(9.81 * times**2 / 2, height))
    assert np.nanmedian(gravity) == pytest.approx(1, abs=0.1)
    same_time = ratios_if(pairs, lambda times, height, _: height * np.minimum(times / 0.45, 1) ** 2)
    assert np.nanmax(same_time) < 1 and np.nanmedian(same_time) < 0.75, "not too low as often as too high"


def test_of_equally_high_things_the_larger_is_the_first():
    level = [simulate(release_two(seed, RANGES, same_height=True), **VIDEO, name=str(seed)) for seed in range(6)]
    slow = ratios_if(level, lambda times, height, size: height * np.minimum(times / (0.25 + 0.6 * size), 1) ** 2)
    assert np.isfinite(slow).sum() >= 4 and np.nanmin(slow) > 1.05, "what takes longer is always on the same side"


def test_gravity_of_the_ideal_depends_on_nothing_and_wrong_gravity_is_seen(on_map):
    gravity = {}
    for method in ("ideal", "slow gravity", "frozen"):
        table = evaluate_videos(on_map, reference_videos(method, on_map), workers=1).table
        gravity[method] = table["g_eff"].median()
        if method == "ideal":
            found = slopes(table, "g_eff", ("height", "distance", "size"))
            assert (found["slope"].abs().to_numpy() * (1.5, 1.5, 0.2) < 0.981).all() and (found["n"] >= 18).all()
    assert gravity["ideal"] == pytest.approx(9.81, rel=0.03)
    assert gravity["slow gravity"] == pytest.approx(0.18 * 9.81, rel=0.15) and abs(gravity["frozen"]) < 0.2


def test_before_contact_is_the_fall_alone(on_map):
    [truth] = on_map[:1]
    wrong = truth.masks.copy()
    wrong[int(truth.contacts[0] * truth.fps) + 1 :] = False  # lost after contact
    lost = replace(truth, masks=wrong)
    assert before_contact(truth, lost) == 0 and before_contact(truth, replace(truth, masks=~truth.masks)) > 0
    assert np.isnan(before_contact(replace(truth, contacts=None), lost))
    for end in range(2, len(truth)):  # at a rate that is no whole number, too
        odd = replace(truth, fps=29.97, contacts=np.array([(end - 0.5) / 29.97]))
        assert before_contact(odd, odd) == 0, end


def numbers(**methods) -> list[pd.DataFrame]:
    """The tables that `checks` reads: method to (g_eff, largest effect, ratio outside, ratio of two, measured)."""
    rows = {name.replace("_", " "): values for name, values in methods.items()}
    gravity = pd.DataFrame([{"method": name, "value": values[0]} for name, values in rows.items()])
    slope = pd.DataFrame([{"method": name, "effect": values[1]} for name, values in rows.items()])
    ratio = pd.DataFrame([{"method": name, "value": values[2]} for name, values in rows.items()])
    pair = [{"method": name, "value": values[3], "measured": values[4], "videos": 10} for name, values in rows.items()]
    return [gravity, slope, ratio, pd.DataFrame(pair)]


RIGHT = (9.8, 0.2, 1.1, 1.01, 9)


def test_a_test_that_the_codec_fails_is_not_asked():
    found = checks(*numbers(PSFT=RIGHT, ideal=RIGHT, codec=(9.8, 0.2, 2.1, 1.01, 9), frozen=(0, 0, 1, np.nan, 0)))
    assert found.loc["PSFT", "outside"] == "cannot be asked here: codec alone gives 2.1 times the error inside"
    assert (found.loc["PSFT", ["falls", "everywhere", "two objects"]] == "passes").all()
    assert (found.loc["frozen"] == "fails").all() and found.loc["codec", "outside"] == "fails"


@pytest.mark.parametrize(
    ("test", "wrong"),
    [
        ("falls", (8.5, 0.2, 1.1, 1.01, 9)),
        ("everywhere", (9.8, 1.2, 1.1, 1.01, 9)),
        ("outside", (9.8, 0.2, 1.6, 1.01, 9)),
        ("two objects", (9.8, 0.2, 1.1, 1.05, 9)),
        ("two objects", (9.8, 0.2, 1.1, 1.01, 4)),
    ],
)
def test_what_is_wrong_fails_its_test(test, wrong):
    found = checks(*numbers(PSFT=wrong, ideal=RIGHT, codec=RIGHT, best_guess=RIGHT))
    assert found.loc["PSFT", test] == "fails" and (found.loc["ideal"] == "passes").all()


def test_errors_to_either_side_fail():
    found = checks(*numbers(PSFT=(9.8, -1.2, 1.1, 1.01, 9), ideal=RIGHT, codec=RIGHT))
    assert found.loc["PSFT", "everywhere"] == "fails"
    gravity, slope, ratio, pair = numbers(PSFT=(9.8, 1.2, 1.1, 0.95, 9), ideal=RIGHT, codec=RIGHT)
    found = checks(gravity, pd.concat([slope, slope.assign(effect=0.0)]), ratio, pair)
    assert found.loc["PSFT", "everywhere"] == found.loc["PSFT", "two objects"] == "fails", "the largest slope counts"
