"""Fall time, effective gravity and bounce against closed forms."""

from dataclasses import replace

import numpy as np
import pytest

from pisa_kit.core.errors import InputError
from pisa_kit.metrics import fall_time, gravity
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate

FPS = 16


def falling(acceleration: float, drop: float, fps: float = FPS, frames: int = 17, restitution: float = 0.4):
    """Image height (px) of a point that falls `drop` px and bounces; and its exact contact time (s)."""
    t = np.arange(frames) / fps
    contact = np.sqrt(2 * drop / acceleration)
    after = np.maximum(t - contact, 0)
    up = restitution * acceleration * contact
    rebound = np.maximum(up * after - acceleration * after**2 / 2, 0)
    return 10 + np.where(t < contact, acceleration * t**2 / 2, drop - rebound), contact


@pytest.mark.parametrize("acceleration", [60.0, 150.0, 260.0])
def test_free_fall_is_recovered_exactly(acceleration):
    y, contact = falling(acceleration, drop=20.0)
    fit = gravity.fit_free_fall(y, FPS, drop=20.0)
    assert fit.acceleration == pytest.approx(acceleration, rel=1e-6)
    assert fit.start == pytest.approx(10, abs=1e-6) and fit.residual < 1e-6
    assert fall_time.fall_time(y, FPS, drop=20.0) == pytest.approx(contact, abs=1e-3)
    assert gravity.g_eff(y, FPS, 9.81 / acceleration, drop=20.0) == pytest.approx(9.81, rel=1e-6)


def test_contact_is_found_without_geometry_at_a_high_frame_rate():
    y, contact = falling(2000.0, drop=800.0, fps=120, frames=160)
    assert fall_time.fall_time(y, 120) == pytest.approx(contact, abs=0.002)
    assert fall_time.bounce(y, 120) == pytest.approx(0.4**2, abs=0.02)


def test_a_frozen_object_has_no_gravity_and_never_lands():
    y = np.full(17, 12.0)
    assert gravity.g_eff(y, FPS, 0.05, drop=20.0) == pytest.approx(0, abs=1e-9)
    assert np.isnan(fall_time.fall_time(y, FPS, drop=20.0)) and np.isnan(fall_time.bounce(y, FPS, drop=20.0))


def test_a_lost_object_is_not_measured():
    y = np.full(17, np.nan)
    assert fall_time.landing_frame(y, 20.0) is None
    assert np.isnan(gravity.fit_free_fall(y, FPS, 20.0).acceleration)
    y, _ = falling(150.0, drop=20.0)
    y[3] = np.nan
    assert gravity.fit_free_fall(y, FPS, 20.0).acceleration == pytest.approx(150, rel=1e-6)


def test_another_resolution_is_refused_not_mismeasured():
    truth = simulate(sample(0), 32, 5)
    with pytest.raises(InputError, match="masks: has 64x64 px, the truth 32x32"):
        gravity.describe(np.zeros((5, 64, 64), bool), 16, truth)


def test_slow_gravity_scales_g_eff():
    y, _ = falling(0.18 * 150.0, drop=20.0)
    assert gravity.g_eff(y, FPS, 9.81 / 150, drop=20.0) == pytest.approx(0.18 * 9.81, rel=1e-6)


def projective_track(noise: float, rng):
    """A fall of 2.28 m at 120 fps seen by a tilted camera; released at 0.1 s."""
    t = np.arange(130) / 120
    contact = np.sqrt(2 * 2.28 / 9.81)
    fallen = np.clip(t - 0.1, 0, contact) ** 2 * 9.81 / 2
    after = np.maximum(t - 0.1 - contact, 0)
    metres = fallen - np.maximum(3.0 * after - 9.81 * after**2 / 2, 0)
    return (100 + 700 * metres) / (1 + 0.05 * metres) + noise * rng.standard_normal(len(t))


@pytest.mark.parametrize("seed", range(3))
def test_projective_fit_measures_gravity_without_knowing_the_camera(seed):
    fall = gravity.fit_projective(projective_track(0.5, np.random.default_rng(seed)), 120, drop=2.28, draws=60)
    assert fall.gravity == pytest.approx(9.81, rel=0.01)
    low, high = fall.gravity_interval
    assert low < fall.gravity < high and high - low < 0.4
    assert fall.release == pytest.approx(0.1, abs=0.004) and fall.residual < 1


def test_uncertain_height_widens_the_interval():
    y = projective_track(0.5, np.random.default_rng(0))
    narrow, wide = (gravity.fit_projective(y, 120, 2.28, error, draws=60).gravity_interval for error in (0, 0.1))
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_residuals_drawn_anew_are_as_large_as_the_errors_were():
    rng, errors = np.random.default_rng(0), []
    time = np.linspace(0, 1, 12)
    for _ in range(400):
        noise = rng.normal(0, 2.0, len(time))
        misfit = noise - np.polyval(np.polyfit(time, noise, 3), time)
        errors.append(np.mean(gravity._blocks(misfit, 4, rng) ** 2))
    assert np.sqrt(np.mean(errors)) == pytest.approx(2.0, rel=0.05)


def test_a_track_without_a_landing_is_refused():
    with pytest.raises(InputError, match="track: y: shows no whole fall"):
        gravity.fit_projective(np.linspace(0, 100, 60), 120, drop=2)


@pytest.mark.parametrize("lost", [slice(8, None), slice(8, 11), slice(3, 8), slice(9, 10), slice(1, None)])
@pytest.mark.parametrize("drop", [None, 20.0])
def test_lost_frames_anywhere_give_a_number_or_nan_but_no_crash(lost, drop):
    t = np.arange(17) / 16
    y = 10 + np.minimum(100 * t**2, 20)
    whole = fall_time.fall_time(y, 16, drop)
    assert whole == pytest.approx(np.sqrt(0.2), abs=0.03)
    y[lost] = np.nan
    for measured in (fall_time.fall_time(y, 16, drop), fall_time.bounce(y, 16, drop)):
        assert np.isnan(measured) or 0 <= measured <= 1


def test_a_clip_without_geometry_is_described_by_its_own_fall():
    clip = simulate(sample(1), 64, 17, 16)
    real = replace(clip, camera=None, poses=None, contacts=None)
    found = gravity.describe(clip.dropped, clip.fps, real)
    assert np.isnan(found["g_eff"]) and found["fall_time_error"] == 0
    assert found["fall_time"] == pytest.approx(clip.contacts[0], abs=0.03)
    assert found["bounce"] == pytest.approx(gravity.describe(clip.dropped, clip.fps, clip)["bounce"], abs=0.1)


def noisy(paths: np.ndarray, rng) -> np.ndarray:
    """Tracks (N, 17) px with 0.2 px of noise."""
    return 20 + paths + 0.2 * rng.standard_normal(paths.shape)


def synthetic(kind: str, rng, count: int = 1000) -> np.ndarray:
    """Tracks without a landing, as a 64-pixel film at 16 fps shows them from 2 to 3.5 m away."""
    t, pixels = np.arange(17) / FPS, 61.5 / rng.uniform(2, 3.5, (count, 1))
    if kind == "hover":
        return noisy(np.zeros((count, 17)), rng)
    if kind == "slow fall":
        return noisy(pixels * 0.9 * t**2 / 2, rng)
    start, length, way = (
        rng.uniform(0, 0.3, (count, 1)),
        rng.uniform(0.25, 0.7, (count, 1)),
        rng.uniform(-1.2, 1.0, (count, 1)),
    )
    done = np.clip((t - start) / length, 0, 1)
    return noisy(-pixels * way * (3 - 2 * done) * done**2, rng)


@pytest.mark.parametrize("kind", ["hover", "slow fall", "dart"])
def test_no_landing_without_one(kind):
    tracks = synthetic(kind, np.random.default_rng(0))
    assert np.mean([fall_time.contact_time(y) is not None for y in tracks]) <= 0.01


def test_landings_are_found_without_geometry():
    rng, missed, late = np.random.default_rng(1), 0, []
    for _ in range(300):
        distance, height = rng.uniform(2, 3.5), rng.uniform(0.5, 1.25)
        y, contact = falling(61.5 * 9.81 / distance, 61.5 * height / distance, restitution=rng.uniform(0.05, 0.55))
        found = fall_time.fall_time(y + 0.2 * rng.standard_normal(17), FPS)
        missed += np.isnan(found)
        late.append(abs(found - contact))
    assert missed <= 0.02 * 300
    assert np.nanmedian(late) < 0.004 and np.nanpercentile(late, 95) < 0.02


def test_a_landing_is_never_a_whole_frame_by_default():
    """What cannot be measured between frames is NaN, not the frame's time."""
    y = np.r_[np.linspace(0, 20, 8), np.full(9, 20.0)]  # no free fall
    assert np.isnan(fall_time.fall_time(y, FPS))


@pytest.mark.parametrize("drop", [None, 20.0])
def test_an_object_lost_in_frame_0_is_measured_from_the_frames_that_show_it(drop):
    y, contact = falling(150.0, drop=20.0)
    y[0] = np.nan
    assert fall_time.fall_time(y, FPS, drop) == pytest.approx(contact, abs=0.02)
    assert np.isfinite(fall_time.bounce(y, FPS, drop))


def test_what_leaves_the_picture_is_not_tracked_to_its_edge():
    masks = np.zeros((3, 8, 8), bool)
    masks[0, 2:4, 3] = masks[1, 5:7, 3] = masks[2, 6:8, 3] = True
    np.testing.assert_array_equal(fall_time.track(masks)[:, 1], [3, 6, 7])
    np.testing.assert_array_equal(fall_time.track(masks, whole=True)[:, 1], [3, 6, np.nan])


def test_a_fall_that_is_too_slow_lands_late():
    scene = sample(1)
    truth, late = simulate(scene, 64, 17, 16), simulate(replace(scene, gravity=0.6 * scene.gravity), 64, 17, 16)
    assert gravity.describe(late.dropped, 16, truth)["fall_time_error"] > 0.05
