"""The background tracker on drawn clips, where the truth is known, and on the real footage."""

import numpy as np
import pytest

from pisa_kit.clips.media import read_video
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import DATA
from pisa_kit.perception.background import camera_drift, shift
from pisa_kit.perception.background_tracker import track_background

FOOTAGE = DATA / "balldrop_120fps.mp4"
SIZE, COUNT, RADIUS, FLOOR = 64, 17, 6, 54
START = (30, 10)


def centre_rows(kind: str) -> list[float | None]:
    """Height of the disk's centre, frame by frame; None when it is not there."""
    times = np.arange(COUNT)
    falling = 10 + 0.46 * times**2
    if kind == "falls":
        return list(np.minimum(falling, FLOOR))
    if kind == "rests from the sixth frame":
        return list(np.minimum(10 + 2 * times**2, FLOOR))
    if kind == "bounces":
        return [
            row if row < FLOOR else FLOOR - max(0, 5 * (t - 9) - 0.46 * (t - 9) ** 2) for t, row in enumerate(falling)
        ]
    if kind == "vanishes":
        return [row if t < 7 else None for t, row in enumerate(falling)]
    if kind == "comes back":
        return [None if t in (5, 6) else row for t, row in enumerate(np.minimum(falling, FLOOR))]
    return [10.0] * COUNT


def draw(kind: str, color=(200, 60, 40), noise: float = 2, drift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3) and true masks (T, H, W) of a shaded disk with a cast shadow before a textured wall."""
    y, x = np.mgrid[:SIZE, :SIZE]
    wall = np.array([150.0, 140, 125]) + (25 * np.sin(x / 2.3 + y / 7) + 20 * np.cos(y / 3.1))[..., None]
    wall[44:] = np.array([110.0, 115, 120]) + 15 * ((x[44:] // 4 + y[44:] // 4) % 2)[..., None]
    generator = np.random.default_rng(0)
    frames, masks = [], []
    for index, row in enumerate(centre_rows(kind)):
        image, mask = wall.copy(), np.zeros((SIZE, SIZE), bool)
        if row is not None:
            spread = RADIUS * (1 + (56 - row) / SIZE)
            image[((x - START[0]) / spread) ** 2 + ((y - 58) / 3) ** 2 <= 1] *= 0.6
            mask = (x - START[0]) ** 2 + (y - row) ** 2 <= RADIUS**2
            image[mask] = np.array(color) * (1 - 0.15 * (y[mask] - row) / RADIUS)[:, None]
        step = (0, round(drift * index / (COUNT - 1)))
        frames.append(shift(image, step) + generator.normal(0, noise, image.shape))
        masks.append(shift(mask, step))
    return np.clip(np.round(frames), 0, 255).astype(np.uint8), np.stack(masks)


def ious(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    present = truth.any((1, 2))
    return ((found & truth).sum((1, 2)) / (found | truth).sum((1, 2)).clip(1))[present]


@pytest.mark.parametrize("kind", ["falls", "bounces", "rests from the sixth frame", "vanishes", "comes back", "frozen"])
@pytest.mark.parametrize("by", ["mask", "point"])
@pytest.mark.parametrize("noise", [1, 5])
def test_finds_the_object_where_it_is_and_nowhere_else(kind, by, noise):
    frames, truth = draw(kind, noise=noise)
    track = track_background(frames, truth[0] if by == "mask" else START)
    assert np.array_equal(track.lost, ~truth.any((1, 2)))
    assert np.array_equal(track.lost, ~track.masks.any((1, 2)))
    assert ious(track.masks, truth).min() > 0.8


@pytest.mark.parametrize("color", [(60, 60, 60), (240, 240, 240), (40, 120, 60)])
@pytest.mark.parametrize("kind", ["falls", "frozen", "vanishes"])
def test_colours_that_look_like_shadow_or_light(color, kind):
    frames, truth = draw(kind, color=color)
    track = track_background(frames, truth[0])
    assert np.array_equal(track.lost, ~truth.any((1, 2)))
    assert ious(track.masks, truth).mean() > 0.8


def test_the_shadow_on_the_floor_is_not_the_object():
    frames, truth = draw("falls")
    track = track_background(frames, truth[0])
    assert not track.masks[:6, 50:].any()


def test_a_second_moving_object_is_not_followed():
    frames, truth = draw("vanishes")
    for index in range(COUNT):
        frames[index, 20:32, 5 + 3 * index : 9 + 3 * index] = (30, 40, 220)
    track = track_background(frames, truth[0])
    assert np.array_equal(track.lost, ~truth.any((1, 2)))


def test_a_slow_camera_drift_is_followed():
    generator = np.random.default_rng(0)
    wall = np.kron(generator.integers(60, 200, (40, 40, 3)), np.ones((4, 4, 1)))
    y, x = np.mgrid[:160, :160]
    frames, truth = [], []
    for index in range(30):
        image, mask = wall.copy(), (x - 80) ** 2 + (y - 20 - 0.12 * index**2) ** 2 <= 100
        image[mask] = (220, 30, 30)
        step = (-index // 6, index // 10)
        frames.append(shift(image, step) + generator.normal(0, 1, image.shape))
        truth.append(shift(mask, step))
    frames, truth = np.clip(frames, 0, 255).astype(np.uint8), np.stack(truth)
    drift = camera_drift(frames, truth[0])
    assert np.abs(drift - [(-index // 6, index // 10) for index in range(30)]).max() == 0
    track = track_background(frames, truth[0])
    assert not track.lost.any() and ious(track.masks, truth).min() > 0.8


def test_a_still_camera_has_no_drift():
    for kind in ("falls", "frozen", "vanishes"):
        frames, truth = draw(kind)
        assert not camera_drift(frames, truth[0]).any()


def test_a_single_frame_is_its_own_track():
    frames, truth = draw("falls")
    track = track_background(frames[:1], truth[0])
    assert np.array_equal(track.masks, truth[:1]) and not track.lost.any()


@pytest.mark.parametrize(
    ("frames", "start", "field"),
    [
        (np.zeros((4, 8, 8), np.uint8), (1, 1), "frames"),
        (np.zeros((4, 8, 8, 3), np.float32), (1, 1), "frames"),
        (np.zeros((4, 8, 8, 3), np.uint8), (8, 1), "start"),
        (np.zeros((4, 8, 8, 3), np.uint8), (np.nan, 1), "start"),
        (np.zeros((4, 8, 8, 3), np.uint8), (1, 1), "start"),
        (np.zeros((4, 8, 8, 3), np.uint8), np.zeros((8, 8), bool), "start"),
        (np.zeros((4, 8, 8, 3), np.uint8), np.ones((8, 8), np.uint8), "start"),
        (np.zeros((4, 8, 8, 3), np.uint8), np.ones((7, 8), bool), "start"),
    ],
)
def test_refuses(frames, start, field):
    with pytest.raises(InputError) as caught:
        track_background(frames, start)
    assert caught.value.field == field and caught.value.remedy


def test_real_ball_is_found_through_its_fall():
    frames = np.rot90(read_video(FOOTAGE, 118, 203)[0], -1, axes=(1, 2))
    track = track_background(np.ascontiguousarray(frames), (28, 74))
    assert track.lost.mean() <= 0.1
    found = np.flatnonzero(~track.lost)
    rows = np.array([np.argwhere(track.masks[index]).mean(0)[0] for index in found])
    assert (np.diff(rows[found > 4]) > 0).all() and rows[-1] > 1600
    areas = track.masks[found].sum((1, 2))
    assert 400 < areas.min() and areas.max() < 1250, "a ball of 28 px across, somewhat longer when it is fast"
