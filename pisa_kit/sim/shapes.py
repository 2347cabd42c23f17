"""The shapes that are dropped: lists of convex parts (for contact) and visible meshes, centred on the bounding box."""

from dataclasses import dataclass, field, replace

import numpy as np

SEEN = ("box", "sphere", "cylinder", "capsule", "cone", "mug")
UNSEEN = ("ellipsoid", "bottle", "l_block", "torus")


@dataclass(frozen=True)
class Part:
    """One geometric piece in the object's frame, metres.

    Args:
        kind: "box", "sphere", "cylinder", "capsule", "ellipsoid" (sizes as MuJoCo's half sizes) or "mesh".
        size: (3,) half sizes; unused for meshes.
        position: (3,) centre of the piece.
        vertices: (V, 3), faces: (F, 3) int, for meshes (vertices before `position` is added).
        solid: takes part in contact (a mesh by its convex hull).
        visible: is drawn.
    """

    kind: str
    size: np.ndarray = None
    position: np.ndarray = field(default_factory=lambda: np.zeros(3))
    vertices: np.ndarray = None
    faces: np.ndarray = None
    solid: bool = True
    visible: bool = True

    def moved(self, shift, scale: float = 1.0) -> "Part":
        """The part shifted by `shift`, then everything scaled about the origin."""
        known = {name: getattr(self, name) for name in ("size", "vertices") if getattr(self, name) is not None}
        scaled = {name: array * scale for name, array in known.items()}
        return replace(self, position=(self.position + shift) * scale, **scaled)

    def support(self, direction: np.ndarray) -> float:
        """Farthest reach of the part along the unit vector `direction` (3,), metres."""
        d, s = np.asarray(direction, float), self.size
        reach = {
            "box": lambda: np.abs(d) @ s,
            "sphere": lambda: s[0],
            "ellipsoid": lambda: np.linalg.norm(d * s),
            "cylinder": lambda: s[0] * np.hypot(d[0], d[1]) + s[1] * abs(d[2]),
            "capsule": lambda: s[0] + s[1] * abs(d[2]),
            "mesh": lambda: (self.vertices @ d).max(),
        }[self.kind]()
        return float(self.position @ d + reach)


def extents(parts: list[Part], rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest (x, y, z) that the visible parts reach when turned by `rotation` (3, 3), metres."""
    shown = [part for part in parts if part.visible]
    high = np.array([max(part.support(axis) for part in shown) for axis in rotation])
    low = np.array([min(-part.support(-axis) for part in shown) for axis in rotation])
    return low, high


def parts(shape: str, size: float, proportions: tuple[float, float]) -> list[Part]:
    """The parts of one object.

    Args:
        shape: a name in `SEEN` or `UNSEEN`.
        size: largest extent along its own axes, metres.
        proportions: two numbers in [0, 1] that vary slenderness.
    """
    pieces = _MAKERS[shape](*proportions)
    low, high = extents(pieces, np.eye(3))
    return [piece.moved(-(low + high) / 2, size / (high - low).max()) for piece in pieces]


def lathe(profile, segments: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Surface of revolution about z of a profile [(radius, z), ...]: vertices (V, 3), faces (F, 3)."""
    angles = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    rings = [np.stack([r * np.cos(angles), r * np.sin(angles), np.full(segments, z)], 1) for r, z in profile]
    return np.concatenate(rings), _grid_faces(len(profile), segments, wrap_rows=False)


def tube(radius: float, thickness: float, arc: float = 2 * np.pi, segments: int = 24, sides: int = 10):
    """A bent tube in the x-z plane (a torus for a full `arc`): vertices (V, 3), faces (F, 3)."""
    full = arc >= 2 * np.pi
    along = np.linspace(-arc / 2, arc / 2, segments, endpoint=not full)[:, None]
    around = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None]
    reach = radius + thickness * np.cos(around)
    points = np.broadcast_arrays(reach * np.cos(along), thickness * np.sin(around), reach * np.sin(along))
    return np.stack(points, -1).reshape(-1, 3), _grid_faces(segments, sides, wrap_rows=full)[:, ::-1]


def _grid_faces(rows: int, columns: int, wrap_rows: bool) -> np.ndarray:
    i, j = np.meshgrid(np.arange(rows if wrap_rows else rows - 1), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = (i + 1) % rows * columns + j, (i + 1) % rows * columns + (j + 1) % columns
    return np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)]).reshape(-1, 3)


def _mesh(vertices_faces, **options) -> Part:
    return Part("mesh", vertices=vertices_faces[0], faces=vertices_faces[1], **options)


def _cylinder(radius: float, half: float) -> Part:
    """What a cylinder touches with: a prism, for MuJoCo divides by a standing cylinder's tilt and may fling it up."""
    return _mesh(lathe([(0, -half), (radius, -half), (radius, half), (0, half)], segments=64), visible=False)


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _mug(p, q):
    r, h, wall = _between(0.34, 0.44, p), _between(0.42, 0.5, q), 0.05
    cup = lathe([(0, -h), (r, -h), (r, h), (r - wall, h), (r - wall, -h + wall), (0, -h + wall)])
    handle = _mesh(tube(0.24, 0.055, arc=np.pi), position=np.array([r - 0.03, 0, 0]))
    return [_mesh(cup, solid=False), _cylinder(r, h), handle]


def _bottle(p, q):
    r, neck = _between(0.16, 0.24, p), _between(0.05, 0.07, q)
    return [_mesh(lathe([(0, -0.5), (r, -0.5), (r, 0.12), (neck, 0.3), (neck, 0.5), (0, 0.5)]))]


def _cone(p, q):
    return [_mesh(lathe([(0, -0.5), (_between(0.28, 0.5, p), -0.5), (_between(0.0, 0.08, q), 0.5), (0, 0.5)]))]


def _l_block(p, q):
    thick = _between(0.14, 0.2, p)
    foot = Part("box", np.array([0.5, _between(0.14, 0.25, q), thick]), np.array([0.5, 0, thick]))
    return [foot, Part("box", np.array([thick, foot.size[1], 0.5]), np.array([thick, 0, 0.5]))]


def _torus(p, q):
    ring, thick = 0.36, _between(0.09, 0.14, p)
    angles = np.arange(10) * 2 * np.pi / 10
    places = ring * np.stack([np.cos(angles), np.zeros(10), np.sin(angles)], 1)
    beads = [Part("sphere", np.full(3, thick), place, visible=False) for place in places]
    return [_mesh(tube(ring, thick), solid=False), *beads]


_MAKERS = {
    "box": lambda p, q: [Part("box", np.array([0.5, _between(0.25, 0.5, p), _between(0.25, 0.5, q)]))],
    "sphere": lambda p, q: [Part("sphere", np.full(3, 0.5))],
    "cylinder": lambda p, q: [
        Part("cylinder", np.array([(r := _between(0.2, 0.45, p)), 0.5, 0]), solid=False),
        _cylinder(r, 0.5),
    ],
    "capsule": lambda p, q: [Part("capsule", np.array([(r := _between(0.18, 0.32, p)), 0.5 - r, 0]))],
    "ellipsoid": lambda p, q: [Part("ellipsoid", np.array([0.5, _between(0.25, 0.4, p), _between(0.25, 0.4, q)]))],
    "cone": _cone,
    "mug": _mug,
    "bottle": _bottle,
    "l_block": _l_block,
    "torus": _torus,
}
