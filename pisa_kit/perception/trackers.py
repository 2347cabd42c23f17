"""Who is where: the object of frame 0 in every later frame, by background difference or by a net.

Nets are called like `nets.MaskTracker`, (video, mask of frame 0) to logits of masks and presence: SAM 2 fits
behind the same call.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from torch import nn
from transformers import Sam2VideoInferenceSession, Sam2VideoModel

from pisa_kit.clips.annotations import dropped_index
from pisa_kit.clips.clip import Clip
from pisa_kit.core.checks import Few, check
from pisa_kit.core.devices import check_device
from pisa_kit.core.errors import InputError, check_choice
from pisa_kit.core.storage import WEIGHTS, loadable
from pisa_kit.perception.background_tracker import Track, check_start, track_background
from pisa_kit.perception.nets import PROMPT, MaskTracker, load_net
from pisa_kit.perception.tensors import for_imagenet, to_video

NETS = ("judge", "reward")  # mask trackers that learned from different clips
SAM2 = "facebook/sam2.1-hiera-large"
EVALUATION = ("background", "judge", "sam2")  # what may judge a model: never the tracker whose gradients trained it


def load_tracker(name: str, folder=WEIGHTS) -> MaskTracker:
    """The mask tracker "judge" or "reward", frozen, from a folder of that name in `folder`; errors of `load_net`."""
    return load_net(folder, check_choice(name, NETS, "tracker"), MaskTracker)


@torch.no_grad()
def track_net(model: nn.Module, frames: np.ndarray, start: np.ndarray) -> Track:
    """Follows the object that `start` shows in frame 0 with a net.

    A frame is lost if the net says that the object is gone or finds no pixel of it.

    Args:
        model: (video, mask) to logits of masks (B, T, H, W) and of presence (B, T), see `MaskTracker`.
        frames: (T, H, W, 3) uint8.
        start: (H, W) bool, the object in frame 0, which is returned as it is; InputError for another.
    """
    check_start(start, frames, "track_net")
    place = next(model.parameters(), torch.empty(0)).device
    logits, presence = model(to_video(frames[None]).to(place), torch.from_numpy(start)[None].to(place))
    masks = ((logits > 0) & (presence >= 0)[..., None, None])[0].cpu().numpy()
    masks[0] = start
    return Track(masks, ~masks.any((1, 2)))


def track_clips(
    clips: list[Clip], truths: list[Clip], workers: int = 2, tracker: "str | Sam2" = "background", folder=WEIGHTS
) -> list[Clip]:
    """Gives each clip the masks of its dropped object, tracked from the true clip's mask of frame 0.

    SAM 2 starts from a real clip's annotated points instead, as in the paper.

    Args:
        clips: frames of predictions (anything but `frames` is ignored).
        truths: the clips they predict, in the same order, of the same size, with masks.
        workers: processes of the background tracker; the net uses torch's threads.
        tracker: "background", "judge", "sam2", or a SAM 2 that is loaded already; "reward" is refused,
            because it trains models and must not judge them.
        folder: the net's weights, see `load_tracker`.

    Returns:
        The clips with `masks` (T, 1, H, W); the mask of a frame in which the object is lost is empty.
    """
    if tracker == "reward":
        problem = "'reward' trains models and must not judge them"
        raise InputError("arguments", "tracker", problem, f"Use one of {', '.join(EVALUATION)}.")
    if not isinstance(tracker, Sam2):
        check_choice(tracker, EVALUATION, "tracker")
    check(Few, workers, "arguments", "workers")
    tracker = load_sam2() if tracker == "sam2" else tracker
    pairs = [(clip.frames, true.dropped[0]) for clip, true in zip(clips, truths, strict=True)]
    if tracker == "judge":
        model = load_tracker("judge", folder)
        tracks = [track_net(model, *pair) for pair in pairs]
    elif isinstance(tracker, Sam2):
        points = [true.info.get("points") for true in truths]
        tracks = [
            tracker.follow(frames, each[dropped_index(each)]) if each else track_net(tracker, frames, start)
            for (frames, start), each in zip(pairs, points, strict=True)
        ]
    else:
        tracks = Parallel(n_jobs=workers)(delayed(track_background)(*pair) for pair in pairs)
    return [replace(clip, masks=track.masks[:, None]) for clip, track in zip(clips, tracks, strict=True)]


class Sam2(nn.Module):
    """SAM 2 behind the call of `nets.MaskTracker`, differentiable from the pixels on.

    transformers' own video loop runs in inference mode and its processor rounds to uint8; here the undecorated forward
    runs frame by frame on pixels that are resized and normalised as tensors. Of an object that SAM 2 has lost the mask
    is a constant; its presence still has a gradient.

    Args:
        model: e.g. `Sam2VideoModel.from_pretrained("facebook/sam2.1-hiera-large")`.
    """

    def __init__(self, model: Sam2VideoModel):
        super().__init__()
        self.model = model.eval().requires_grad_(False)  # in training mode it drops the object's score

    def forward(self, video: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `nets.MaskTracker.forward`; any size."""
        tracks = [self._track(clip, start) for clip, start in zip(video.transpose(1, 2), mask, strict=True)]
        logits, presence = (torch.stack(each) for each in zip(*tracks, strict=True))
        return logits, presence

    def _track(self, frames: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """frames (T, 3, H, W) in [-1, 1], start (H, W) to logits (T, H, W) and presence (T,)."""

        def prompt(session, place: int, pixels: torch.Tensor):
            mask = F.interpolate(start[None, None].to(pixels), pixels.shape[-2:], mode="nearest")
            session.add_mask_inputs(place, 0, mask)

        logits, presence = self._run(frames, prompt)
        given, sure = PROMPT * (2 * start.to(logits) - 1), logits.new_tensor([PROMPT])  # frame 0 is the prompt itself
        return torch.cat([given[None], logits[1:]]), torch.cat([sure, presence[1:]])

    @torch.no_grad()
    def follow(self, frames: np.ndarray, points: dict) -> Track:
        """Tracks the object that points of frame 0 name, as real clips are annotated.

        Args:
            frames: (T, H, W, 3) uint8.
            points: {"positive": [[x, y], ...], "negative": [[x, y], ...]}, pixels of frame 0.
        """

        def prompt(session, place: int, pixels: torch.Tensor):
            yes, no = points["positive"], points.get("negative", [])
            scale = pixels.new_tensor([pixels.shape[-1] / frames.shape[2], pixels.shape[-2] / frames.shape[1]])
            coordinates = pixels.new_tensor([*yes, *no])[None, None] * scale
            labels = torch.tensor([[[1] * len(yes) + [0] * len(no)]], dtype=torch.int32, device=pixels.device)
            session.add_point_inputs(place, 0, {"point_coords": coordinates, "point_labels": labels})

        video = to_video(frames[None])[0].transpose(0, 1).to(self.model.device)
        logits, presence = self._run(video, prompt)
        masks = ((logits > 0) & (presence > 0)[:, None, None]).cpu().numpy()
        return Track(masks, ~masks.any((1, 2)))

    def _run(self, frames: torch.Tensor, prompt: Callable) -> tuple[torch.Tensor, torch.Tensor]:
        """SAM 2 over all frames (T, 3, H, W) in [-1, 1], prompted in frame 0: logits (T, H, W), presence (T,)."""
        pixels = for_imagenet(frames, self.model.config.image_size)
        height, width = frames.shape[-2:]
        device = frames.device
        session = Sam2VideoInferenceSession(pixels, height, width, device, device, device, dtype=pixels.dtype)
        place = session.obj_id_to_idx(1)
        prompt(session, place, pixels)
        session.obj_with_new_inputs = [1]
        logits, presence = [], []
        for index in range(len(frames)):
            out = Sam2VideoModel.forward.__wrapped__(self.model, inference_session=session, frame_idx=index)
            scaled = F.interpolate(out.pred_masks, (height, width), mode="bilinear", align_corners=False)
            logits.append(scaled[0, 0])
            presence.append(out.object_score_logits.flatten()[0])
        return torch.stack(logits), torch.stack(presence)


def load_sam2(weights: str = SAM2, device: str = "cpu") -> Sam2:
    """SAM 2 from the hub, its cache or a folder; InputError for weights that cannot be loaded."""
    check_device(device)
    remedy = "Get it with `pisa download sam2` and name its folder; or choose the tracker 'background'."
    with loadable(weights, "weights", remedy):
        return Sam2(Sam2VideoModel.from_pretrained(weights, use_safetensors=True).to(device))
