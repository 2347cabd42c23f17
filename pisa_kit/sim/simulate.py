"""MuJoCo drops a `Scene`: physics, pictures and exact ground truth (masks, depth, flow, poses, contacts)."""

import functools
import math

import numpy as np
from scipy.spatial.transform import Rotation

from pisa_kit.clips.clip import Camera, Clip, check_fps
from pisa_kit.sim.motion import Motion
from pisa_kit.sim.mujoco_model import APT_LINE, RenderError, build, load_mujoco
from pisa_kit.sim.scenes import Scene

TIMESTEP = 0.002  # seconds; shortened so that a whole number of steps makes a frame
STANDING = 1e-3  # metres above the floor up to which an object stands there at the start


def simulate(
    scene: Scene,
    size: int = 64,
    frames: int = 17,
    fps: float = 16,
    name: str = "",
    motion: Motion | dict[int, Motion] | None = None,
) -> Clip:
    """Drops the scene's object and films it. The same arguments give the same clip, bit for bit.

    Frame 0 shows the scene at rest at t = 0; frame i shows t = i / fps.

    Args:
        size, frames, fps: as of `settings.Video`.
        motion: moves the object along this path instead of dropping it, or each thing named by its index along its
            own; nothing else moves.

    Returns:
        A `Clip` with every ground truth filled in; object axes follow `scene.things` (dropped one last).

    Raises:
        RenderError: no off-screen renderer.
    """
    check_fps(fps, name or "simulate")
    model = build(scene, size)
    motion = {len(scene.things) - 1: motion} if isinstance(motion, Motion) else motion
    moves = run_motion(scene, motion, frames, fps) if motion else run_physics(model, scene, frames, fps)
    rgb, depth, labels = render(model, moves["poses"].reshape(frames, -1), scene, size)
    masks = labels[:, None] == np.arange(1, len(scene.things) + 1)[None, :, None, None]
    camera = scene.camera(size)
    return Clip(
        frames=rgb,
        fps=float(fps),
        masks=masks,
        depth=depth,
        flow=optical_flow(masks, depth, moves["poses"], camera),
        **moves,
        camera=camera,
        caption=" ".join(scene.things[i].caption(one.verb) for i, one in motion.items()) if motion else scene.caption,
        name=name or f"scene {scene.seed}",
        info={"scene": scene.to_dict()},
    )


def run_physics(model, scene: Scene, frames: int, fps: float) -> dict[str, np.ndarray]:
    """Steps the model and records every frame.

    MuJoCo's semi-implicit Euler gives y(t) exactly when the start velocity is half a step of gravity ahead
    (leapfrog), so every fall matches g t^2 / 2 to rounding error; velocities are reported at t. All objects above the
    floor fall; contacts are the last one's.

    Returns:
        poses (T, N, 7), velocities (T, N, 6), contacts (K,) seconds.
    """
    mujoco = load_mujoco()
    data = mujoco.MjData(model)
    substeps = math.ceil(1 / (fps * TIMESTEP) - 1e-9)
    model.opt.timestep = step = 1 / (fps * substeps)
    half_kick = scene.gravity * step / 2
    count = len(scene.things)
    falling = {index for index, thing in enumerate(scene.things) if thing.bounds[0][2] > STANDING}
    data.qvel[[6 * index + 2 for index in falling]] = half_kick
    last, qpos, velocities, contacts, touching = count - 1, [], [], [], False
    for frame in range(frames):
        for _ in range(substeps if frame else 0):
            speed = np.linalg.norm(data.qvel[-6:-3])
            mujoco.mj_step(model, data)
            depth = _penetration(model, data, last + 1)
            if depth is not None and not touching:
                # contacts belong to the state before this step, the touch to the moment the overlap began
                contacts.append(data.time - step - min(depth / max(speed, 1e-6), step))
            touching = depth is not None
            falling = {index for index in falling if _penetration(model, data, index + 1) is None}
        qpos.append(data.qpos.copy())
        velocity = data.qvel.reshape(count, 6).copy()
        velocity[list(falling), 2] -= half_kick
        velocities.append(velocity)
    poses, velocities = np.array(qpos).reshape(frames, count, 7), np.array(velocities)
    turned = rotations(poses) @ velocities[..., 3:, None]  # MuJoCo gives angular velocity in body axes
    velocities[..., 3:] = turned[..., 0]
    return {"poses": poses, "velocities": velocities, "contacts": np.array(contacts, float)}


def run_motion(scene: Scene, motion: dict[int, Motion], frames: int, fps: float) -> dict[str, np.ndarray]:
    """What `run_physics` returns, for prescribed motions without contact."""
    times, count = np.arange(frames) / fps, len(scene.things)
    poses = np.array([[*thing.position, *thing.quaternion] for thing in scene.things])
    poses, velocities = np.tile(poses, (frames, 1, 1)), np.zeros((frames, count, 6))
    for index, one in motion.items():
        poses[:, index], velocities[:, index] = one.poses(scene.things[index], times), one.velocities(times)
    return {"poses": poses, "velocities": velocities, "contacts": np.zeros(0)}


def _penetration(model, data, body: int) -> float | None:
    """How deep the body overlaps what it touches, metres >= 0; None while it touches nothing."""
    if data.ncon == 0:
        return None
    bodies = model.geom_bodyid[data.contact.geom]
    distances = data.contact.dist[(bodies == body).any(1)]
    return -float(distances.min()) if (distances <= 0).any() else None


@functools.lru_cache(maxsize=2)
def _gl_context(size: int):
    mujoco = load_mujoco()
    try:
        return mujoco.GLContext(size, size)
    except Exception as error:  # each platform's backend raises its own type
        raise RenderError(f"MuJoCo cannot open an off-screen renderer ({error}). Install one: {APT_LINE}") from error


def render(model, qpos: np.ndarray, scene: Scene, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws the model in each configuration.

    Returns:
        rgb (T, H, W, 3) uint8, depth (T, H, W) float32 in metres along the optical axis,
        labels (T, H, W) uint8: 0 background, i + 1 for `scene.things[i]`.
    """
    mujoco = load_mujoco()
    data, visual = mujoco.MjData(model), mujoco.MjvScene(model, maxgeom=200)
    options, camera = mujoco.MjvOption(), mujoco.MjvCamera()
    camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
    viewport = mujoco.MjrRect(0, 0, size, size)
    _gl_context(size).make_current()
    context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
    context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
    count = len(qpos)
    rgb, ids = np.empty((2, count, size, size, 3), np.uint8)
    buffer = np.empty((count, size, size), np.float32)
    mask_flags = [int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR)]
    try:
        for frame in range(count):
            data.qpos[:] = qpos[frame]
            mujoco.mj_kinematics(model, data)
            mujoco.mj_camlight(model, data)
            mujoco.mjv_updateScene(model, data, options, None, camera, mujoco.mjtCatBit.mjCAT_ALL, visual)
            mujoco.mjr_render(viewport, visual, context)
            mujoco.mjr_readPixels(rgb[frame], None, viewport, context)
            visual.flags[mask_flags] = 1
            mujoco.mjr_render(viewport, visual, context)
            mujoco.mjr_readPixels(ids[frame], buffer[frame], viewport, context)
            visual.flags[mask_flags] = 0
    finally:
        context.free()
    labels = np.zeros(256, np.uint8)  # of segment colours; body 0 is the world, bodies 1 ... N are the things
    for geom in visual.geoms[: visual.ngeom]:
        if geom.segid >= 0 and geom.objid >= 0:
            labels[geom.segid + 1] = model.geom_bodyid[geom.objid]
    near, far = (model.stat.extent * plane for plane in (model.vis.map.znear, model.vis.map.zfar))
    depth = near * far / (near + buffer.astype(np.float64) * (far - near))  # 0 is the far plane, 1 the near one
    return rgb[:, ::-1].copy(), depth[:, ::-1].astype(np.float32), labels[ids[:, ::-1, :, 0]]


def optical_flow(masks: np.ndarray, depth: np.ndarray, poses: np.ndarray, camera: Camera) -> np.ndarray:
    """Exact flow from known geometry: each object's visible points move rigidly with it, the rest stands still.

    Args:
        masks: (T, N, H, W) bool.
        depth: (T, H, W) metres.
        poses: (T, N, 7) position and quaternion (w, x, y, z).
        camera: intrinsics.

    Returns:
        (T - 1, H, W, 2) float32: pixels (x, y) from frame t to t + 1, 0 on the static background.
    """
    flow = np.zeros((len(depth) - 1, *depth.shape[1:], 2), np.float32)
    turns = rotations(poses)
    frame, thing, row, column = np.nonzero(masks[:-1])
    pixels = np.stack([column, row], 1) + 0.5
    points = camera.unproject(pixels, depth[frame, row, column])
    local = np.einsum("kji,kj->ki", turns[frame, thing], points - poses[frame, thing, :3])
    moved = np.einsum("kij,kj->ki", turns[frame + 1, thing], local) + poses[frame + 1, thing, :3]
    flow[frame, row, column] = camera.project(moved) - pixels
    return flow


def rotations(poses: np.ndarray) -> np.ndarray:
    """Poses (T, N, 7) to rotation matrices (T, N, 3, 3)."""
    quaternions = poses[..., 3:].reshape(-1, 4)
    return Rotation.from_quat(quaternions, scalar_first=True).as_matrix().reshape(*poses.shape[:2], 3, 3)
