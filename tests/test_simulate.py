"""The simulator against closed forms: free fall, projection, flow, depth, restitution."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from pisa_kit.core.errors import InputError
from pisa_kit.metrics.fall_time import fall_time, track
from pisa_kit.metrics.gravity import drop_pixels, g_eff, metres_per_pixel
from pisa_kit.sim import mujoco_model
from pisa_kit.sim.scenes import Scene, sample
from pisa_kit.sim.settings import Ranges
from pisa_kit.sim.simulate import run_physics, simulate

FPS = 16
SPLITS = ("seen", "unseen")


def scene(seed: int, **ranges) -> Scene:
    return sample(seed, Ranges(**ranges), objects=SPLITS[seed % 2], backgrounds=SPLITS[seed // 2 % 2])


@pytest.fixture(scope="module")
def clips():
    return [simulate(scene(seed), 64, 17, FPS) for seed in range(48)]


def gap(model, scene: Scene) -> float:
    """Metres the dropped object can sink before it touches anything, by bisection on MuJoCo's collision check."""
    mujoco = mujoco_model.load_mujoco()
    data = mujoco.MjData(model)
    height = data.qpos[-5].copy()
    bodies = lambda: model.geom_bodyid[data.contact.geom][data.contact.dist <= 0]  # noqa: E731
    low, high = 0.0, scene.height + 0.01
    for _ in range(24):
        data.qpos[-5] = height - (low + high) / 2
        mujoco.mj_forward(model, data)
        touching = (bodies() == model.nbody - 1).any()
        low, high = (low, (low + high) / 2) if touching else ((low + high) / 2, high)
    return (low + high) / 2


def test_fall_time_is_analytic_on_200_scenes():
    errors = []
    for seed in range(200):
        drawn = scene(seed)
        model = mujoco_model.build(drawn, 64)
        contacts = run_physics(model, drawn, 17, FPS)["contacts"]
        errors.append(contacts[0] - np.sqrt(2 * gap(model, drawn) / 9.81))
    assert np.abs(errors).max() < 0.5 / FPS
    assert np.quantile(np.abs(errors), 0.95) < 0.002 and np.median(np.abs(errors)) < 0.0005


def test_fall_to_the_floor_takes_sqrt_2h_over_g():
    drawn = [scene(seed, others=(0, 0)) for seed in range(40)]
    first = [run_physics(mujoco_model.build(s, 64), s, 17, FPS)["contacts"][0] for s in drawn]
    late = np.array(first) - [np.sqrt(2 * s.height / 9.81) for s in drawn]
    assert np.abs(late).max() < 0.0025 and abs(np.median(late)) < 0.00001


def test_velocities_are_the_poses_rates_of_change_in_world_axes():
    drawn, fps = scene(7), 400
    motion = run_physics(mujoco_model.build(drawn, 64), drawn, 400, fps)
    turns = Rotation.from_quat(motion["poses"][:, -1, 3:], scalar_first=True)
    spin = (turns[2:] * turns[:-2].inv()).as_rotvec() * fps / 2
    linear = (motion["poses"][2:, -1, :3] - motion["poses"][:-2, -1, :3]) * fps / 2
    error = np.concatenate([linear, spin], 1) - motion["velocities"][1:-1, -1]
    assert np.abs(spin).max() > 1, "it turns"
    assert np.median(np.abs(error)) < 0.02 and np.quantile(np.abs(error), 0.9) < 0.1


def test_frame_0_is_at_rest_and_nothing_overlaps():
    mujoco = mujoco_model.load_mujoco()
    for seed in range(60):
        drawn = scene(seed)
        model = mujoco_model.build(drawn, 64)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        assert data.contact.dist.min(initial=0) > -1e-4
        motion = run_physics(model, drawn, 2, FPS)
        assert np.abs(motion["velocities"][0]).max() == 0
        np.testing.assert_allclose(motion["velocities"][1, -1, 2], -9.81 / FPS, rtol=1e-6)
        assert (motion["poses"][1, -1, 2] - motion["poses"][0, -1, 2]) == pytest.approx(-9.81 / FPS**2 / 2, rel=1e-6)


def test_same_seed_same_clip_bit_for_bit():
    first, second = simulate(scene(3)), simulate(scene(3))
    for name in ("frames", "masks", "depth", "flow", "poses", "velocities", "contacts"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (simulate(scene(4)).frames != first.frames).any()


def test_clip_is_the_same_in_another_process():
    code = (
        "from pisa_kit.sim.simulate import simulate; from pisa_kit.sim.scenes import sample;"
        "import hashlib; print(hashlib.sha256(simulate(sample(5)).frames.tobytes()).hexdigest())"
    )
    digests = {subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)}
    assert len(digests) == 1


def test_scene_survives_json():
    import json

    assert Scene.from_dict(json.loads(json.dumps(scene(7).to_dict()))) == scene(7)
    with pytest.raises(InputError, match="clip.npz: scene"):
        Scene.from_dict({"things": []}, "clip.npz")


def test_whole_drop_is_in_view_and_ranges_hold():
    for seed in range(200):
        drawn = scene(seed)
        assert drawn.in_view() and 2.0 <= drawn.distance <= 3.5 and 0.5 <= drawn.height <= 1.2500001
    far = sample(0, Ranges(height=(2.5, 2.5), distance=(2.0, 2.0), move_camera=True))
    assert far.in_view() and far.distance > 2 and far.height == pytest.approx(2.5)
    with pytest.raises(InputError, match="no whole drop in view"):
        sample(0, Ranges(height=(2.5, 2.5), distance=(2.0, 2.0)))


def test_seen_and_unseen_share_no_family():
    seen, unseen = [[sample(i, objects=split, backgrounds=split) for i in range(80)] for split in SPLITS]
    for take in (
        lambda s: {t.shape for t in s.things},
        lambda s: {t.colour for t in s.things},
        lambda s: {t.texture for t in s.things} | {s.floor.texture, s.wall.texture},
    ):
        first, second = set().union(*map(take, seen)), set().union(*map(take, unseen))
        assert len(first) >= 4 and len(second) >= 4 and not first & second
    walls = [np.array([(s.wall.rgb, s.floor.rgb) for s in group]).reshape(-1, 3) for group in (seen, unseen)]
    assert np.abs(walls[0][:, None] - walls[1][None]).max(-1).min() > 0.01, "background colours do not overlap"


def test_mask_centroid_is_the_projected_centre_of_spheres():
    for seed in range(20):
        drawn = scene(seed, others=(0, 0))
        drawn = drawn.with_drop(shape="sphere")
        for size in (64, 256):
            clip = simulate(drawn, size, 9, FPS)
            depth, radius = clip.poses[:, -1, 1:2], drawn.dropped.size / 2
            aside = clip.camera.project(clip.poses[:, -1, :3]) - size / 2
            outline = size / 2 + aside * depth**2 / (depth**2 - radius**2)  # its centre, of a ball's cone of rays
            assert np.abs(track(clip.dropped) - outline).max() < 1.5


def test_metres_per_pixel_of_a_near_sphere_are_those_of_its_outline():
    drawn = scene(0, others=(0, 0)).with_drop(shape="sphere", size=0.9)
    clip = simulate(drawn, 256, 6, FPS)
    fallen = np.argwhere(clip.dropped[5]).mean(0)[0] - np.argwhere(clip.dropped[0]).mean(0)[0]
    metres = clip.poses[0, -1, 2] - clip.poses[5, -1, 2]
    assert fallen * metres_per_pixel(clip) == pytest.approx(metres, rel=0.01)
    assert fallen * drawn.distance / clip.camera.focal > 1.015 * metres, "not those of its centre"


def test_flow_warps_each_frame_to_the_next(clips):
    warped_error, plain_error = [], []
    for clip in clips:
        y, x = np.mgrid[:64, :64].astype(float)
        gray = clip.frames.mean(-1)
        for t in range(5):
            inside = clip.masks[t, -1]
            if inside.sum() < 12:
                continue
            target = [y + clip.flow[t, ..., 1], x + clip.flow[t, ..., 0]]
            warped_error.append(np.abs(map_coordinates(gray[t + 1], target, order=1) - gray[t])[inside].mean())
            plain_error.append(np.abs(gray[t + 1] - gray[t])[inside].mean())
            assert (clip.flow[t][~clip.masks[t].any(0)] == 0).all()
    assert np.mean(warped_error) < 0.35 * np.mean(plain_error)


def test_depth_of_floor_and_wall_is_the_cameras_geometry(clips):
    for clip in clips[:12]:
        row, column = np.nonzero(~clip.masks[0].any(0))
        floor = clip.camera.height * clip.camera.focal / np.maximum(row + 0.5 - clip.camera.center[1], 1e-9)
        wall = clip.info["scene"]["wall_distance"]
        on_floor = (floor < wall - 0.5) & (row > 34)
        np.testing.assert_allclose(clip.depth[0][row, column][on_floor], floor[on_floor], rtol=0.01)
        high = row < 28
        np.testing.assert_allclose(clip.depth[0][row, column][high], wall, rtol=0.001)


def test_effective_gravity_of_simulated_clips(clips):
    measured, landed = [], []
    for clip in clips:
        y = track(clip.dropped)[:, 1]
        drop = drop_pixels(clip)
        measured.append(g_eff(y, clip.fps, metres_per_pixel(clip), drop))
        landed.append(fall_time(y, clip.fps, drop) - clip.contacts[0])
    assert abs(np.median(measured) / 9.81 - 1) < 0.01
    assert np.median(np.abs(landed)) < 0.010


@pytest.mark.parametrize("restitution", [0.1, 0.3, 0.5])
def test_restitution_is_rebound_speed_over_impact_speed(restitution):
    drawn = scene(12, others=(0, 0)).with_drop(shape="sphere", restitution=restitution, height=1.0)
    motion = run_physics(mujoco_model.build(drawn, 64), drawn, 240, 200)
    bottom = motion["poses"][:, -1, 2] - drawn.dropped.size / 2
    lowest = bottom[:120].argmin()
    assert np.sqrt(bottom[lowest:].max() / 1.0) == pytest.approx(restitution, abs=0.04)


@pytest.mark.parametrize("shape", ["cylinder", "mug"])
def test_what_has_come_to_rest_does_not_leap(shape):
    drawn = [sample(seed).with_drop(shape=shape) for seed in [500, 632, 745, *range(30)]]
    motions = [run_physics(mujoco_model.build(s, 64), s, 33, FPS) for s in drawn]
    assert max((motion["poses"][:, -1, 2] - motion["poses"][0, -1, 2]).max() for motion in motions) <= 0


def test_gravity_is_a_parameter():
    slow = replace(scene(2, others=(0, 0)), gravity=2.0)
    contacts = run_physics(mujoco_model.build(slow, 64), slow, 33, FPS)["contacts"]
    assert contacts[0] == pytest.approx(np.sqrt(2 * slow.height / 2.0), abs=0.003)


def test_missing_egl_names_the_library_and_the_remedy(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(mujoco_model.ctypes.util, "find_library", lambda name: None)
    mujoco_model.load_mujoco.cache_clear()
    with pytest.raises(mujoco_model.RenderError, match="No EGL library.*apt-get install -y libegl1"):
        simulate(scene(0))
