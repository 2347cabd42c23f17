"""Six kinds of footage a phone makes, drawn with the simulator and pasted together, with their true scale.

As a script it prints the error of g over several scenes: `python tests/footage_kinds.py 6`.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from pisa_kit.clips.clip import Clip
from pisa_kit.clips.media import write_mp4
from pisa_kit.core.errors import InputError
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.settings import Ranges
from pisa_kit.sim.simulate import simulate
from pisa_kit.viz.tracker import FootageTracker
from pisa_kit.viz.widgets import track_footage

RANGES = Ranges(distance=(2.6, 3.2), height=(0.9, 1.2), size=(0.15, 0.25), others=(0, 0))
HELD = 6  # frames before the release
NOISE = 3.0  # grey levels
KINDS = ("30 fps, blurred", "240 fps", "portrait, 1080p", "hand in view", "half covered", "dark ball")


@dataclass(frozen=True)
class Footage:
    """Frames (T, H, W, 3) uint8 whose object is let go in frame `release`; `ends` (2, 2) px are a metre apart."""

    frames: np.ndarray
    fps: float
    release: int
    point: tuple[float, float]
    ends: np.ndarray


@lru_cache(maxsize=1)
def drop(seed: int, size: int, fps: int, height: float | None = None) -> Clip:
    """A drop until shortly after its landing."""
    scene = sample(seed, RANGES)
    scene = scene if height is None else scene.with_drop(height=height)
    return simulate(scene, size, int((np.sqrt(2 * scene.height / 9.81) + 0.12) * fps), fps)


def film(kind: str, seed: int = 0) -> Footage:
    """One of `KINDS`."""
    clip = drop(seed, 128, 240, 0.45) if kind == "240 fps" else drop(seed, 240, 60)
    frames, fps, release, rng = clip.frames.astype(np.float32), clip.fps, HELD, np.random.default_rng(seed)
    frames, masks = (np.concatenate([each[:1].repeat(HELD, 0), each]) for each in (frames, clip.dropped))
    y, x = np.array(ndimage.center_of_mass(masks[0])) + 0.5
    distance = clip.poses[0, -1, 1]
    ends = clip.camera.project(np.array([[0.3, distance, 0.1], [0.3, distance, 1.1]]))
    if kind == "dark ball":  # in a dim room
        frames = np.where(masks[..., None], frames * 0.15 + 8, frames * 60 / frames[0][~masks[0]].mean())
    if kind == "hand in view":
        frames, release = _hand(frames, masks[0]), HELD + 9  # when it has gone
    if kind == "half covered":  # by a curtain in front
        curtain = frames[:, : int(0.75 * frames.shape[1]), : int(x)]
        curtain[:] = (70, 95, 60) + 12 * np.sin(np.arange(curtain.shape[2]) / 3)[:, None]
        x += np.sqrt(masks[0].sum()) / 4
    if kind in ("30 fps, blurred", "portrait, 1080p"):  # the shutter is open all the time
        frames, fps, release = frames[: len(frames) // 2 * 2].reshape(-1, 2, *frames.shape[1:]).mean(1), 30.0, HELD // 2
    noise = NOISE * rng.standard_normal(frames.shape[1:], np.float32)
    frames = np.stack([frame + np.roll(noise, rng.integers(len(frame)), 0) for frame in frames])
    frames = frames.clip(0, 255).astype(np.uint8)
    if kind == "portrait, 1080p":
        left = int(np.clip(x - 67, 0, 240 - 135))
        frames = [Image.fromarray(one).resize((1080, 1920), 2) for one in frames[:, :, left : left + 135]]
        frames, x, y, ends = np.stack(frames), 8 * (x - left), 8 * y, 8 * (ends - (left, 0))
    return Footage(frames, fps, release, (x, y), ends)


def _hand(frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Two fingers that touch the object from above until the release and then go up."""
    frames, (rows, columns), width = frames.copy(), np.nonzero(mask), np.sqrt(mask.sum())
    y, x = np.mgrid[: frames.shape[1], : frames.shape[2]]
    for index, frame in enumerate(frames):
        reach = rows.min() + 0.35 * width - max(0, index - HELD) ** 1.5
        for finger in (-0.25, 0.25):
            frame[(np.abs(x - columns.mean() - finger * width) < 0.13 * width) & (y < reach)] = (205, 160, 135)
    return frames


def measure(shot: Footage, folder: Path) -> tuple[FootageTracker, float]:
    """The widget with its marks preset, and processor seconds per frame of tracking; 1080p goes through a file."""
    video = shot.frames
    if max(video.shape[1:3]) > 1000:
        write_mp4(folder / "phone.mp4", video, shot.fps)
        video = folder / "phone.mp4"
    marked = track_footage(video, shot.fps, {}, shot.ends, 1.0, shot.release)
    ends, marked.ends = marked.ends, []
    marked.points = [[0, *(value * marked.size[1] / shot.frames.shape[1] for value in shot.point)]]
    start = time.process_time()
    marked.order = {"do": "track"}
    spent = time.process_time() - start
    marked.ends = ends
    return marked, spent / len(shot.frames)


if __name__ == "__main__":
    for kind in KINDS:
        for seed in range(int(sys.argv[1])):
            try:
                with tempfile.TemporaryDirectory() as folder:
                    widget, spent = measure(film(kind, seed), Path(folder))
            except InputError as error:
                print(f"{kind}, scene {seed}: {error}")
                continue
            if widget.fall is None:
                print(f"{kind}, scene {seed}: {widget.message}")
                continue
            fall, lost = widget.fall, len(widget.found["lost"])
            text = f"g {fall.gravity:.2f} {np.round(fall.gravity_interval, 2)}, {fall.gravity / 9.81 - 1:+.1%}"
            print(f"{kind}, scene {seed}: {text}, {fall.frames} frames of fall, {lost} lost, {spent:.3f} s/frame")
