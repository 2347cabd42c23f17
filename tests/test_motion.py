"""Generic motion: stays in view, follows its formula, and never is a real fall."""

import numpy as np
import pytest

from pisa_kit.metrics.fall_time import track
from pisa_kit.metrics.gravity import g_eff
from pisa_kit.sim.motion import KINDS, PACES, WAYS, Motion, sample_motion, with_room
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.settings import GRAVITY, Ranges
from pisa_kit.sim.simulate import simulate

ROOM = with_room(Ranges())


@pytest.fixture(scope="module")
def drawn():
    return [(sample(seed, ROOM), sample_motion(sample(seed, ROOM), seed, 1.0)) for seed in range(120)]


def test_every_kind_occurs_and_the_same_seed_gives_the_same_motion(drawn):
    said = {motion.verb for _, motion in drawn}
    assert {words.split()[0] for words in said} == set(KINDS) and len(said) > 15
    assert not {"speeds down", "speeds down left", "speeds down right"} & said
    assert sample_motion(sample(5, ROOM), 5, 1.0) == drawn[5][1] != sample_motion(sample(5, ROOM), 1, 1.0)


def test_the_object_stays_in_view(drawn):
    assert all(motion.stays_in_view(scene, scene.dropped, 1.0) for scene, motion in drawn)
    scene = sample(0)
    assert not Motion("rises", (0.0, 0.0, 9.0), (0.0,) * 3, (0.0,) * 3).stays_in_view(scene, scene.dropped, 1.0)


def test_a_motion_goes_where_and_as_far_as_its_caption_says_and_falls_too_slowly(drawn):
    for scene, motion in drawn:
        verb, _, way = motion.verb.partition(" ")
        places = scene.camera(1).project(motion.poses(scene.dropped, np.array([0.0, 1.0]))[:, :3])
        right, down = places[1] - places[0]
        if verb in PACES:
            way = "down" if verb == "falls" else way or "up"
            ahead = np.array(WAYS[way]) / np.linalg.norm(WAYS[way])
            far = np.hypot(right, down)
            assert far == pytest.approx(PACES[verb])
            assert verb != "falls" or 0 < -motion.acceleration[2] < 0.14 * GRAVITY
            np.testing.assert_allclose([right / far, -down / far], ahead, atol=1e-6)
        else:
            assert (right, down) == (0, 0) and (verb == "turns") == any(motion.spin)


def test_films_follow_the_formula():
    scene = sample(2)
    motion = Motion("falls", (0.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 0.0, 2.0))
    clip = simulate(scene, 64, 9, 16, motion=motion)
    np.testing.assert_allclose(clip.poses[0, -1, 2] - clip.poses[:, -1, 2], clip.times**2 / 2, atol=1e-12)
    np.testing.assert_allclose(clip.velocities[4, -1], [0, 0, -clip.times[4], 0, 0, 2.0], atol=1e-12)
    y = track(clip.dropped)[:, 1]
    assert g_eff(y, 16, scene.distance / clip.camera.focal) == pytest.approx(1.0, abs=0.25)
    assert clip.caption == scene.caption and len(clip.contacts) == 0


def test_the_caption_says_what_happens():
    scene = sample(2)
    clip = simulate(scene, 32, 3, 16, motion=Motion("rises", (0.0, 0.0, 0.2), (0.0,) * 3, (0.0,) * 3))
    assert clip.caption == scene.caption.replace("falls", "rises") and "rises" in clip.caption


def test_several_things_move_each_in_its_own_way():
    scene = sample(3)
    assert len(scene.things) > 1
    still = (0.0, 0.0, 0.0)
    motions = {
        0: Motion("drifts", (0.1, 0.0, 0.0), still, still),
        len(scene.things) - 1: Motion("speeds left", still, (-1.0, 0.0, 0.0), still),
    }
    clip = simulate(scene, 64, 9, 16, motion=motions)
    moved = clip.poses[:, :, 0] - clip.poses[0, :, 0]
    np.testing.assert_allclose(moved[:, 0], 0.1 * clip.times, atol=1e-12)
    np.testing.assert_allclose(moved[:, -1], -(clip.times**2) / 2, atol=1e-12)
    assert clip.velocities[-1, -1, 0] == -clip.times[-1] and (moved[:, 1:-1] == 0).all()
    assert clip.caption == f"{scene.things[0].caption('drifts')} {scene.dropped.caption('speeds left')}"
