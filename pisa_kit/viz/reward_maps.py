"""What a reward sees of a video and where its gradient lands on the pixels, as pictures."""

from dataclasses import dataclass

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import ndimage

from pisa_kit.clips.clip import Clip
from pisa_kit.perception.depth import load_depth, video_depth
from pisa_kit.perception.flow import load_flow, video_flow
from pisa_kit.perception.tensors import to_video
from pisa_kit.perception.trackers import load_tracker
from pisa_kit.sim.references import bare, without
from pisa_kit.sim.scenes import Scene
from pisa_kit.sim.simulate import simulate
from pisa_kit.training.rewards import Truth, load_rewards, soft_masks
from pisa_kit.viz import figures


@dataclass(frozen=True)
class RewardMaps:
    """One reward on one video.

    Args:
        name: of the reward.
        loss: raw units.
        frames: (T, H, W, 3) uint8, the video.
        seen, wanted: what the perception net says of the video and of the truth: soft masks or inverse depth
            (T, H, W), or flow (T, H, W, 2), the last frame's being 0.
        gradient: (T, H, W), |d loss / d pixel| summed over colours.
    """

    name: str
    loss: float
    frames: np.ndarray
    seen: np.ndarray
    wanted: np.ndarray
    gradient: np.ndarray


def reward_maps(name: str, prediction: Clip, truth: Clip) -> RewardMaps:
    """A reward of `rewards.REWARD_FUNCTIONS` through the nets that ship, looked at from inside.

    Args:
        prediction: frames of a prediction.
        truth: the simulated clip, with masks.
    """
    given = Truth(to_video(truth.frames[None]), torch.from_numpy(truth.dropped)[None])
    loss, gradient = _differentiate(name, prediction, given)
    video = to_video(prediction.frames[None])
    with torch.no_grad():
        seen, wanted = (_perceive(name, each, given) for each in (video, given.video))
    return RewardMaps(name, loss, prediction.frames, seen, wanted, gradient[0].abs().sum(0).numpy())


def _differentiate(name: str, prediction: Clip, truth: Truth) -> tuple[float, torch.Tensor]:
    """A reward's loss and its gradient on the pixels (1, 3, T, H, W)."""
    video = to_video(prediction.frames[None]).requires_grad_(True)
    loss = load_rewards([name])[name](video, truth).loss.sum()
    return loss.item(), torch.autograd.grad(loss, video)[0]


def _perceive(name: str, video: torch.Tensor, truth: Truth) -> np.ndarray:
    if name == "flow":
        flow = video_flow(load_flow(), video)[0].movedim(1, -1)
        return torch.cat([flow, torch.zeros_like(flow[:1])]).numpy()
    if name == "depth":
        return video_depth(load_depth(), video)[0].numpy()
    masks, _ = soft_masks(load_tracker("reward"), video, truth)
    return torch.cat([truth.masks[:, :1].to(masks), masks], 1)[0].numpy()


def draw(maps: RewardMaps, frame: int) -> Figure:
    """One frame: the picture, what the reward sees in it and in the truth, and the gradient."""
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.1))
    truth = "truth (not asked)" if maps.name == "newton" else "wanted (truth)"
    panels = {"video": maps.frames[frame], "seen": maps.seen[frame], truth: maps.wanted[frame]}
    limits = (float(maps.wanted.min()), float(maps.wanted.max())) if maps.name == "depth" else (0, 1)
    for axis, (title, panel) in zip(axes, panels.items(), strict=False):
        if panel.shape[-1] == 2:
            title = f"{title}, up to {np.linalg.norm(panel, axis=-1).max():.1f} px"
            longest = max(float(np.linalg.norm(each[frame], axis=-1).max()) for each in (maps.seen, maps.wanted))
            panel = figures.flow_colours(panel, longest)  # one scale for both
        axis.imshow(panel, vmin=limits[0], vmax=limits[1], cmap="viridis", interpolation="nearest")
        axis.set(title=title, xticks=[], yticks=[])
    gradient = maps.gradient[frame]
    share = gradient.sum() / max(maps.gradient.sum(), 1e-12)
    axes[3].imshow(gradient, cmap="magma", interpolation="nearest")
    axes[3].set(title=f"gradient on the pixels\n({share:.0%} of the whole video's)", xticks=[], yticks=[])
    figure.suptitle(f"{maps.name}: loss {maps.loss:.3g}, frame {frame}")
    return figure


def look(truths: list[Clip], predictions: list[Clip], names) -> widgets.VBox:
    """Choose reward and clip, move through time.

    Args:
        truths: simulated clips with masks.
        predictions: a prediction for each.
        names: of rewards.
    """
    captions = [f"{index}: {truth.caption}" for index, truth in enumerate(truths)]
    clip = widgets.Dropdown(options=list(zip(captions, range(len(truths)), strict=True)), description="clip")
    reward = widgets.Dropdown(options=list(names), description="reward")
    frame = widgets.IntSlider(value=len(truths[0]) // 2, min=1, max=len(truths[0]) - 1, description="frame")
    picture, kept = widgets.Image(format="png"), {}

    def show(_=None):
        key = reward.value, clip.value
        if key not in kept:
            kept[key] = reward_maps(reward.value, predictions[clip.value], truths[clip.value])
        picture.value = figures.png(draw(kept[key], frame.value))

    for control in (clip, reward, frame):
        control.observe(show, "value")
    show()
    return widgets.VBox([widgets.HBox([clip, reward, frame]), picture])


# --- push the object -------------------------------------------------------------------------------------------


class Pushed:
    """A simulated clip whose dropped object is moved by pixels in every frame but the first, which is given.

    Args:
        truth: the simulated clip, with masks.
    """

    def __init__(self, truth: Clip):
        scene = Scene.from_dict(truth.info["scene"], truth.name)
        empty = simulate(without(scene, [len(scene.things) - 1]), truth.frames.shape[1], len(truth), truth.fps).frames
        masks = truth.dropped[..., None]
        self.truth, self.plate = truth, np.where(masks, empty, truth.frames).astype(float)
        self.cut = np.concatenate([truth.frames * masks, masks], -1).astype(float)

    def clip(self, right: float, down: float) -> Clip:
        """The pushed clip, frames alone."""
        cut = ndimage.shift(self.cut, (0, down, right, 0), order=1)
        frames = (self.plate * (1 - cut[..., 3:]) + cut[..., :3]).round().astype(np.uint8)
        frames[0] = self.truth.frames[0]
        return bare(frames, self.truth, "pushed")

    def pull(self, name: str, right: float, down: float) -> tuple[float, np.ndarray, tuple[float, float]]:
        """What a reward says of it.

        Returns:
            The loss; its gradient (T, H, W), |d loss / d pixel| summed over colours; by how much the loss falls per
            pixel that the object moves right, and down: the gradient times the change of the video.
        """
        given = Truth(to_video(self.truth.frames[None]), torch.from_numpy(self.truth.dropped)[None])
        loss, gradient = _differentiate(name, self.clip(right, down), given)
        falls = []
        for x, y in ((0.5, 0.0), (0.0, 0.5)):
            after, before = (to_video(self.clip(right + k * x, down + k * y).frames[None]) for k in (1, -1))
            falls.append(-float((gradient * (after - before)).sum()))
        return loss, gradient[0].abs().sum(0).numpy(), (falls[0], falls[1])


def draw_push(pushed: Pushed, pulls: dict[str, tuple], right: float, down: float, frame: int) -> Figure:
    """One frame of the pushed object, and for every reward its loss, its gradient there and where it pulls.

    Args:
        pulls: {reward: what `Pushed.pull` returns at this push}.
    """
    figure, axes = figures.panels(1 + len(pulls), size=(2.7, 2.9))
    axes[0].imshow(pushed.clip(right, down).frames[frame], interpolation="nearest")
    axes[0].contour(pushed.truth.dropped[frame], levels=[0.5], colors="white", linewidths=1)
    axes[0].set_title("video\n(outline: truth)", fontsize="small")
    for axis, (name, (loss, gradient, falls)) in zip(axes[1:], pulls.items(), strict=True):
        axis.imshow(gradient[frame], cmap="magma", interpolation="nearest")
        axis.set_title("{}: loss {:.3g}\nright {:+.1e}, down {:+.1e}".format(name, loss, *falls), fontsize="small")
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    figure.suptitle("gradient on the pixels; right, down: by how much the loss falls per pixel that way")
    return figure


def push_rewards(truth: Clip, names, reach: int = 16) -> widgets.VBox:
    """Sliders push the object of a simulated clip by up to `reach` pixels; shows what every reward says of that."""
    options = {"min": -reach, "max": reach, "continuous_update": False}
    start = {"right [px]": 6, "down [px]": 0}  # where it belongs, most rewards have nothing to say
    right, down = (widgets.IntSlider(value, description=name, **options) for name, value in start.items())
    frame = widgets.IntSlider(len(truth) // 3, 1, len(truth) - 1, description="frame", continuous_update=False)
    picture, pushed, kept = widgets.Image(format="png"), Pushed(truth), {}

    def show(_=None):
        place = right.value, down.value
        if place not in kept:
            kept[place] = {name: pushed.pull(name, *place) for name in names}
        picture.value = figures.png(draw_push(pushed, kept[place], *place, frame.value))

    for control in (right, down, frame):
        control.observe(show, "value")
    show()
    return widgets.VBox([widgets.HBox([right, down, frame]), picture])
