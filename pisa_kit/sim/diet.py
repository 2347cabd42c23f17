"""What the base model learns from: scenes in which one or two things move as the caption says, and slow pans.

Every shape, texture and colour occurs, those that PSFT never shows included: the paper's base has seen them, too.
"""

from dataclasses import replace

import numpy as np

from pisa_kit.clips.clip import Camera, Clip
from pisa_kit.sim.motion import Motion, sample_motion, with_room
from pisa_kit.sim.scenes import SPLITS, Scene, Thing, sample
from pisa_kit.sim.settings import Ranges, Video
from pisa_kit.sim.simulate import STANDING, simulate

MOVERS = (0.6, 0.4)  # shares of clips in which 1, 2 things move
PANS = 0.12  # share of clips in which the camera pans
PAN = 0.7  # of the margin, by the end
MARGIN = 16  # pixels around the picture that a pan may show
ANY_COLOUR = 0.5  # share of scenes with colours from the whole range


def diet_clip(seed: int, ranges: Ranges, video: Video, pans: bool = True) -> Clip:
    """A clip of generic motion, with a caption that names all that moves; the same arguments give the same clip.

    Args:
        pans: let the camera pan in some clips, of which only frames and masks are known.
    """
    rng = np.random.default_rng([seed, 40])
    scene = busy_scene(seed, with_room(ranges), 1 + int(rng.choice(len(MOVERS), p=MOVERS)), rng)
    seconds = (video.frames - 1) / video.fps
    hanging = {index: thing for index, thing in enumerate(scene.things) if thing.bounds[0][2] > STANDING}
    motions = {i: sample_motion(scene, seed + 7919 * i, seconds, thing) for i, thing in hanging.items()}
    if rng.random() < PANS and pans:
        return _panned(scene, motions, rng, video)
    return simulate(scene, video.size, video.frames, video.fps, motion=motions)


def busy_scene(seed: int, ranges: Ranges, movers: int, rng: np.random.Generator) -> Scene:
    """A scene of seen and unseen things in which `movers` things hang in the air, apart in the picture at the start."""
    objects, backgrounds = rng.choice(SPLITS, 2, p=(0.6, 0.4))
    scene = sample(seed, ranges, str(objects), str(backgrounds))
    camera, more = scene.camera(1), []
    for number in range(8 * (movers - 1)):
        if len(more) == movers - 1:
            break
        other = sample(seed * 64 + number, replace(ranges, others=(0, 0)), str(rng.choice(SPLITS))).dropped
        aside = float(rng.uniform(-0.4, 0.4)) * other.position[1]
        other = replace(other, position=(aside, *other.position[1:]))
        if scene.in_view(other) and all(_apart(camera, other, one) for one in (*more, scene.dropped)):
            more.append(other)
    scene = replace(scene, things=(*scene.things[:-1], *more, scene.dropped))
    return recolour(scene, seed) if rng.random() < ANY_COLOUR else scene


def _apart(camera: Camera, one: Thing, other: Thing) -> bool:
    places = camera.project(np.array([one.position, other.position]))
    return float(np.linalg.norm(places[0] - places[1])) > 0.12


def recolour(scene: Scene, seed: int) -> Scene:
    """The scene with every colour drawn anew from all colours."""
    rng = np.random.default_rng([seed, 3])
    colour = lambda: tuple(map(float, rng.uniform(0.05, 0.95, 3)))  # noqa: E731
    things = tuple(replace(thing, rgb=colour()) for thing in scene.things)
    floor, wall = (replace(surface, rgb=colour()) for surface in (scene.floor, scene.wall))
    return replace(scene, things=things, floor=floor, wall=wall)


def _panned(scene: Scene, motions: dict[int, Motion], rng: np.random.Generator, video: Video) -> Clip:
    """The scene through a slowly panning camera: a window that slides over a larger picture."""
    ways = [("left", (0, -1)), ("right", (0, 1)), ("up", (-1, 0)), ("down", (1, 0))]
    verb, way = ways[rng.integers(4)]
    share = np.linspace(0, 1, video.frames)
    pixels = PAN * MARGIN * share
    corners = (MARGIN + pixels[:, None] * way).round().astype(int)
    size = video.size + 2 * MARGIN
    fov = 2 * np.degrees(np.arctan(np.tan(np.radians(scene.fov / 2)) * size / video.size))
    clip = simulate(replace(scene, fov=float(fov)), size, video.frames, video.fps, motion=motions)
    windows = [np.s_[row : row + video.size, column : column + video.size] for row, column in corners]
    frames = np.stack([frame[window] for frame, window in zip(clip.frames, windows, strict=True)])
    masks = np.stack([mask[:, window[0], window[1]] for mask, window in zip(clip.masks, windows, strict=True)])
    return Clip(frames, clip.fps, masks, caption=f"{clip.caption} The camera pans {verb}.", name=clip.name)
