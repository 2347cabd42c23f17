"""A `Scene` as a MuJoCo model: bodies, contact, looks, light, camera; and MuJoCo set up to draw off screen."""

import ctypes.util
import functools
import math
import os
import sys

import numpy as np

from pisa_kit.sim.scenes import Scene, Thing
from pisa_kit.sim.shapes import Part
from pisa_kit.sim.textures import texture

if sys.platform.startswith("linux"):
    os.environ.setdefault("MUJOCO_GL", "egl")
    os.environ.setdefault("LP_NUM_THREADS", "0")  # software rendering: one thread per process, processes in parallel
APT_LINE = "apt-get install -y libegl1 libopengl0 libgl1-mesa-dri"
STIFFNESS = 1e5  # contact spring, 1/s^2: an impact lasts about 10 ms
SHADOW_DETAIL = 4  # shadow map pixels per picture pixel, at most 1024 in all
SUN_DISTANCE, SUN_CONE = 20.0, 16.0  # metres, degrees
NEAR, FAR = 0.02, 40.0  # metres, clipping planes; a near plane this close keeps the shadow map from speckling
SHADOW_CONE = 5.7  # degrees: holds all objects, and ends before the wall, which a shadow map would speckle
UPRIGHT = (math.sqrt(0.5), math.sqrt(0.5), 0, 0)  # quarter turn about x: faces along y instead of along z
DRAWN, HIDDEN = 0, 3  # MuJoCo geom groups


class RenderError(RuntimeError):
    """No off-screen renderer on this machine; the message says which system library to install."""


@functools.cache
def load_mujoco():
    """The `mujoco` module, imported once its off-screen renderer can be loaded.

    Raises:
        RenderError: EGL is missing.
    """
    missing = [library for library in ("EGL", "OpenGL") if not ctypes.util.find_library(library)]
    if os.environ.get("MUJOCO_GL") == "egl" and missing:
        raise RenderError(f"No {missing[0]} library, which MuJoCo needs to draw off screen. Install it: {APT_LINE}")
    try:
        import mujoco
    except (ImportError, AttributeError) as error:
        raise RenderError(f"MuJoCo cannot load its off-screen renderer ({error}). Install it: {APT_LINE}") from error
    return mujoco


def build(scene: Scene, size: int):
    """The scene as a MuJoCo model whose off-screen buffer is size x size pixels."""
    mujoco = load_mujoco()
    spec = mujoco.MjSpec()
    spec.option.gravity = (0, 0, -scene.gravity)
    spec.visual.global_.offwidth = spec.visual.global_.offheight = size
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = min(SHADOW_DETAIL * size, 1024), 4
    spec.stat.extent, spec.stat.center = 1.0, (0, scene.distance, 0)
    spec.visual.map.shadowscale = SHADOW_CONE / SUN_CONE
    spec.visual.map.znear, spec.visual.map.zfar = NEAR, FAR
    spec.visual.headlight.active = 1
    spec.visual.headlight.ambient = (0.35 * scene.brightness,) * 3
    spec.visual.headlight.diffuse, spec.visual.headlight.specular = (0.25 * scene.brightness,) * 3, (0.05,) * 3
    world = spec.worldbody
    world.add_camera(name="camera", pos=(0, 0, scene.camera_height), fovy=scene.fov, quat=UPRIGHT)
    sun = world.add_light(name="sun", dir=scene.sun, castshadow=scene.shadows, cutoff=SUN_CONE, exponent=0)
    sun.type = mujoco.mjtLightType.mjLIGHT_SPOT  # a directional light's shadow map speckles the floor
    lit = scene.distance if scene.lit is None else scene.lit
    sun.pos = np.array([0, lit, 0]) - SUN_DISTANCE * np.array(scene.sun)
    sun.diffuse, sun.specular = (0.6 * scene.brightness,) * 3, (0.1,) * 3
    depth = scene.wall_distance / 2 + 1
    _add_surface(mujoco, spec, "floor", scene.floor, (8, depth), (0, scene.wall_distance - depth, 0), (1, 0, 0, 0))
    _add_surface(mujoco, spec, "wall", scene.wall, (8, 4), (0, scene.wall_distance, 4), UPRIGHT)
    for index, thing in enumerate(scene.things):
        _add_thing(mujoco, spec, index, thing, dropped=index == len(scene.things) - 1)
    return spec.compile()


def _add_surface(mujoco, spec, name, surface, size, position, quaternion):
    picture = texture(surface.texture, surface.rgb, surface.contrast, surface.seed, size=128)
    _add_material(mujoco, spec, name, picture, mujoco.mjtTexture.mjTEXTURE_2D, repeat=1 / surface.tile)
    kind = mujoco.mjtGeom.mjGEOM_PLANE
    plane = spec.worldbody.add_geom(name=name, type=kind, size=(*size, 2), pos=position, quat=quaternion)
    plane.material, plane.condim = name, 6
    plane.solref, plane.solimp[:2] = _bounce(0.3), (0.99, 0.99)


def _add_thing(mujoco, spec, index: int, thing: Thing, dropped: bool):
    name = f"thing{index}"
    picture = texture(thing.texture, thing.rgb, 0.35, thing.texture_seed)
    _add_material(mujoco, spec, name, np.tile(picture, (6, 1, 1)), mujoco.mjtTexture.mjTEXTURE_CUBE)
    body = spec.worldbody.add_body(name=name, pos=thing.position, quat=thing.quaternion)
    body.add_freejoint()
    for number, part in enumerate(thing.parts):
        geom = _add_part(mujoco, spec, body, f"{name}_{number}", part)
        geom.material, geom.density = name, 400 if part.solid else 0
        geom.contype = geom.conaffinity = int(part.solid)
        geom.group = DRAWN if part.visible else HIDDEN
        geom.condim, geom.priority = 6, 2 if dropped else 1
        geom.friction = (thing.friction, 0.005, 0.002)
        geom.solref, geom.solimp[:2] = _bounce(thing.restitution), (0.99, 0.99)


def _add_part(mujoco, spec, body, name: str, part: Part):
    if part.kind != "mesh":
        kind = getattr(mujoco.mjtGeom, f"mjGEOM_{part.kind.upper()}")
        return body.add_geom(name=name, type=kind, size=part.size, pos=part.position)
    mesh = spec.add_mesh(name=name, uservert=part.vertices.ravel(), userface=part.faces.ravel())
    if not part.solid:
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    return body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, pos=part.position)


def _add_material(mujoco, spec, name: str, picture: np.ndarray, kind, repeat: float | None = None):
    height, width, _ = picture.shape
    image = spec.add_texture(name=name, type=kind, height=height, width=width, nchannel=3)
    image.data = picture.tobytes()
    material = spec.add_material(name=name, specular=0.2, shininess=0.3)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    if repeat:
        material.texuniform, material.texrepeat = True, (repeat, repeat)


def _bounce(restitution: float) -> tuple[float, float]:
    """MuJoCo's direct `solref` (-stiffness, -damping) of a damped spring whose rebound ratio is `restitution`.

    A damped oscillator leaves contact with e = exp(-pi z / sqrt(1 - z^2)), z its damping ratio.
    """
    log = -math.log(max(restitution, 0.01))
    ratio = log / math.sqrt(math.pi**2 + log**2)
    return -STIFFNESS, -2 * ratio * math.sqrt(STIFFNESS)
