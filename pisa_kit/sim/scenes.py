"""What is dropped where: `Scene`, its sampling from a seed and ranges, and what is seen and unseen in training."""

from dataclasses import asdict, dataclass, field, replace

import numpy as np
from pydantic import ConfigDict
from scipy.spatial.transform import Rotation

from pisa_kit.clips.clip import Camera
from pisa_kit.core.checks import check
from pisa_kit.core.errors import InputError, check_choice
from pisa_kit.sim import shapes, textures
from pisa_kit.sim.settings import GRAVITY, Ranges

STRICT = ConfigDict(extra="forbid")  # of stored scenes: no unknown fields
SPLITS = ("seen", "unseen")
COLOURS = {
    "seen": {
        "red": (0.85, 0.12, 0.10),
        "green": (0.15, 0.65, 0.20),
        "blue": (0.15, 0.30, 0.85),
        "yellow": (0.93, 0.82, 0.15),
        "purple": (0.55, 0.18, 0.70),
        "brown": (0.42, 0.24, 0.10),
    },
    "unseen": {
        "orange": (0.95, 0.50, 0.08),
        "turquoise": (0.10, 0.75, 0.75),
        "pink": (0.95, 0.45, 0.65),
        "black": (0.08, 0.08, 0.08),
    },
}
BACKGROUNDS = {
    "seen": ((0.72, 0.62, 0.50), (0.60, 0.62, 0.66), (0.55, 0.60, 0.50), (0.78, 0.76, 0.72)),
    "unseen": ((0.50, 0.42, 0.38), (0.45, 0.52, 0.62), (0.62, 0.45, 0.50)),
}
SHAPES = {"seen": shapes.SEEN, "unseen": shapes.UNSEEN}
TEXTURES = {"seen": textures.SEEN, "unseen": textures.UNSEEN}


@dataclass(frozen=True)
class Thing:
    """One object: what it is, how it looks, where it starts (centre in metres, quaternion w x y z)."""

    __pydantic_config__ = STRICT
    shape: str
    size: float
    proportions: tuple[float, float]
    colour: str
    rgb: tuple[float, float, float]
    texture: str
    texture_seed: int
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    restitution: float = 0.3
    friction: float = 0.6

    def caption(self, verb: str) -> str:
        """What it does: a red mug falls."""
        return f"{article(self.colour)} {self.colour} {self.shape.replace('_', '-')} {verb}."

    @property
    def parts(self) -> list[shapes.Part]:
        return shapes.parts(self.shape, self.size, self.proportions)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """World-axis bounding box at the start: (low, high), each (3,), metres."""
        low, high = shapes.extents(self.parts, Rotation.from_quat(self.quaternion, scalar_first=True).as_matrix())
        return low + self.position, high + self.position


@dataclass(frozen=True)
class Surface:
    """Look of the floor or the wall; `tile` is the side of one texture tile in metres."""

    __pydantic_config__ = STRICT
    texture: str
    rgb: tuple[float, float, float]
    contrast: float
    seed: int
    tile: float


@dataclass(frozen=True)
class Scene:
    """A drop: objects (dropped one last), floor, wall, light, one camera at (0, 0, camera_height) looking along +y.

    The sun shines on the place at the distance `lit`, metres; None: the dropped object's.
    """

    __pydantic_config__ = STRICT
    things: tuple[Thing, ...]
    floor: Surface
    wall: Surface
    wall_distance: float
    sun: tuple[float, float, float]
    brightness: float
    camera_height: float
    seed: int = 0
    fov: float = 55.0
    gravity: float = GRAVITY
    shadows: bool = True
    lit: float | None = None
    splits: dict = field(default_factory=lambda: {"objects": "seen", "backgrounds": "seen"})

    @property
    def dropped(self) -> Thing:
        return self.things[-1]

    @property
    def distance(self) -> float:
        """Of the dropped object's centre from the camera along the optical axis, metres."""
        return self.dropped.position[1]

    @property
    def height(self) -> float:
        """Of the dropped object's lowest point above the floor, metres."""
        return float(self.dropped.bounds[0][2])

    @property
    def caption(self) -> str:
        return self.dropped.caption("falls")

    def camera(self, size: int) -> Camera:
        """The pinhole camera of a size x size picture."""
        return Camera(size / 2 / np.tan(np.radians(self.fov) / 2), self.camera_height, (size / 2, size / 2))

    def with_drop(self, **changes) -> "Scene":
        """The same scene with changed fields of the dropped object; `height` and `distance` (metres) move it."""
        height, distance = changes.pop("height", self.height), changes.pop("distance", self.distance)
        moved = replace(self.dropped, **changes)
        x, _, z = moved.position
        moved = replace(moved, position=(x, distance, float(z + height - moved.bounds[0][2])))
        return replace(self, things=(*self.things[:-1], moved))

    def in_view(self, thing: Thing | None = None, margin: float = 0.02) -> bool:
        """Is the object, from its start to the floor below it, inside the picture (margin in picture widths)?"""
        low, high = (thing or self.dropped).bounds
        low = np.array([low[0], low[1], 0.0])
        if low[1] <= 0.1:
            return False
        corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        pixels = self.camera(1).project(corners)
        return bool((pixels >= margin).all() and (pixels <= 1 - margin).all())

    def to_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(data: dict, file="scene") -> "Scene":
        """Rebuilds a scene from `to_dict`'s result (also after JSON).

        Raises:
            InputError: unknown or missing field.
        """
        return check(Scene, data, file, "scene", "Simulate the clip again.")


def article(word: str) -> str:
    """ "An" or "A", as the word wants it."""
    return "An" if word[0] in "aeiou" else "A"


def sample(seed: int, ranges: Ranges | None = None, objects: str = "seen", backgrounds: str = "seen") -> Scene:
    """Draws a scene; the same arguments give the same scene.

    Height and distance are uniform in their ranges; a scene whose whole drop is not in view is drawn again
    (`ranges.move_camera` moves the object away instead).

    Args:
        objects: "seen" or "unseen": the dropped object's shape, texture and colour.
        backgrounds: "seen" or "unseen": floor and wall.

    Raises:
        InputError: unknown split, or ranges in which no drop is in view.
    """
    ranges = ranges or Ranges()
    check_choice(objects, SPLITS, "objects")
    check_choice(backgrounds, SPLITS, "backgrounds")
    rng = np.random.default_rng([seed, SPLITS.index(objects), SPLITS.index(backgrounds)])
    for _ in range(500):
        scene = _draw(rng, ranges, objects, backgrounds, seed)
        height = scene.height
        for _ in range(60 if ranges.move_camera else 0):
            if scene.in_view():
                break
            scene = scene.with_drop(distance=scene.distance * 1.05, height=height)
        if scene.in_view():
            return _add_others(scene, rng, ranges, objects)
    remedy = "Lower the height or raise the distance."
    raise InputError("ranges", "height, distance", "put no whole drop in view", remedy)


def _draw(rng, ranges: Ranges, objects: str, backgrounds: str, seed: int) -> Scene:
    camera_height = rng.uniform(*ranges.camera_height)
    distance = rng.uniform(*ranges.distance)
    sideways = rng.uniform(-0.22, 0.22) * distance
    dropped = _draw_thing(rng, ranges, objects, (sideways, distance))
    elevation, azimuth = np.radians(rng.uniform(50, 68)), np.radians(rng.uniform(-50, 50))
    sun = (np.sin(azimuth) * np.cos(elevation), np.cos(azimuth) * np.cos(elevation), -np.sin(elevation))
    scene = Scene(
        things=(dropped,),
        floor=_draw_surface(rng, backgrounds, 0.45),
        wall=_draw_surface(rng, backgrounds, 0.25),
        wall_distance=float(rng.uniform(6.5, 8.5)),
        sun=tuple(map(float, sun)),
        brightness=float(rng.uniform(0.8, 1.1)),
        camera_height=float(camera_height),
        seed=int(seed),
        splits={"objects": objects, "backgrounds": backgrounds},
    )
    return scene.with_drop(height=rng.uniform(*ranges.height))


def _draw_thing(rng, ranges: Ranges, split: str, place, upright: bool = False) -> Thing:
    colour = str(rng.choice(list(COLOURS[split])))
    rgb = np.clip(np.array(COLOURS[split][colour]) + rng.uniform(-0.05, 0.05, 3), 0, 1)
    turn = Rotation.from_euler("z", rng.uniform(0, 2 * np.pi))
    if not upright and rng.random() < 0.7:
        turn = Rotation.from_rotvec(rng.uniform(-1, 1, 3) * 0.9) * turn
    return Thing(
        shape=str(rng.choice(SHAPES[split])),
        size=float(rng.uniform(*ranges.size)),
        proportions=tuple(map(float, rng.random(2))),
        colour=colour,
        rgb=tuple(map(float, rgb)),
        texture=str(rng.choice(TEXTURES[split])),
        texture_seed=int(rng.integers(2**31)),
        position=(float(place[0]), float(place[1]), 0.0),
        quaternion=tuple(map(float, turn.as_quat(scalar_first=True))),
        restitution=float(rng.uniform(*ranges.restitution)),
        friction=float(rng.uniform(*ranges.friction)),
    )


def _draw_surface(rng, split: str, contrast: float) -> Surface:
    colours = BACKGROUNDS[split]
    rgb = np.clip(np.array(colours[rng.integers(len(colours))]) + rng.uniform(-0.06, 0.06, 3), 0, 1)
    texture = str(rng.choice(TEXTURES[split]))
    seed, tile = int(rng.integers(2**31)), float(rng.uniform(1.0, 2.0))
    return Surface(texture, tuple(map(float, rgb)), float(rng.uniform(0.1, contrast)), seed, tile)


def _add_others(scene: Scene, rng, ranges: Ranges, split: str) -> Scene:
    """Adds standing objects underneath or beside that touch nothing and leave the dropped one visible."""
    others: list[Thing] = []
    wanted = int(rng.integers(ranges.others[0], ranges.others[1] + 1))
    for _ in range(40 * wanted):
        if len(others) == wanted:
            break
        underneath = not others and rng.random() < 0.3
        reach, depth = (0.1, 0.05) if underneath else (0.9, 0.7)
        place = np.array(scene.dropped.position[:2]) + rng.uniform(-1, 1, 2) * (reach, depth)
        thing = _draw_thing(rng, ranges, split, place, upright=True)
        thing = replace(thing, position=(*thing.position[:2], float(thing.position[2] - thing.bounds[0][2])))
        if thing.shape not in ("sphere", "torus", "ellipsoid", "capsule") and _fits(thing, underneath, others, scene):
            others.append(thing)
    return replace(scene, things=(*others, scene.dropped))


def _fits(thing: Thing, underneath: bool, others: list[Thing], scene: Scene) -> bool:
    low, high = thing.bounds
    dropped_low, dropped_high = scene.dropped.bounds
    if underneath and high[2] > 0.5 * dropped_low[2]:
        return False
    if not underneath and low[0] < dropped_high[0] + 0.03 and high[0] > dropped_low[0] - 0.03:
        return False
    apart = all((low > other.bounds[1] + 0.03).any() or (high < other.bounds[0] - 0.03).any() for other in others)
    return apart and high[1] < scene.wall_distance - 0.2 and scene.in_view(thing)
