"""Who is where: the object of frame 0 in every later frame, by background difference or by a net.

Nets are called like `tiny_nets.MaskTracker`, (video, mask of frame 0) to logits of masks and presence: SAM 2 fits
behind the same call.
"""

from dataclasses import replace

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import nn

from pisa_kit.background_tracker import Track, track_background
from pisa_kit.clips import Clip
from pisa_kit.conditioning import to_video
from pisa_kit.files import WEIGHTS, InputError, check_choice, check_workers
from pisa_kit.net_files import load_net
from pisa_kit.tiny_nets import MaskTracker

NETS = ("judge", "reward")  # mask trackers that learned from different clips
EVALUATION = ("background", "judge")  # what may judge a model: never the tracker whose gradients trained it


def load_tracker(name: str, folder=WEIGHTS) -> MaskTracker:
    """The mask tracker "judge" or "reward", frozen; its call is differentiable from the pixels on.

    Args:
        folder: holds a folder of that name, as `pisa pretrain` writes it.

    Raises:
        InputError: another name, or weights that are missing, damaged or of another net.
    """
    return load_net(folder, check_choice(name, NETS, "tracker"), MaskTracker)


@torch.no_grad()
def track_net(model: nn.Module, frames: np.ndarray, start: np.ndarray) -> Track:
    """Follows the object that `start` shows in frame 0 with a net.

    Args:
        model: (video, mask) to logits of masks (B, T, H, W) and of presence (B, T), see `MaskTracker`.
        frames: (T, H, W, 3) uint8.
        start: (H, W) bool, the object in frame 0, which is returned as it is.

    Returns:
        The track; a frame is lost if the net says that the object is gone or finds no pixel of it.

    Raises:
        InputError: frames or start of the wrong kind or size.
    """
    if start.shape != frames.shape[1:3] or start.dtype != bool or not start.any():
        problem = f"has shape {start.shape}, dtype {start.dtype} and {np.count_nonzero(start)} pixels"
        raise InputError("track_net", "start", problem, "Give a non-empty (H, W) bool mask.")
    logits, presence = model(to_video(frames[None]), torch.from_numpy(start)[None])
    masks = ((logits > 0) & (presence >= 0)[..., None, None])[0].numpy()
    masks[0] = start
    return Track(masks, ~masks.any((1, 2)))


def track_clips(
    clips: list[Clip], truths: list[Clip], workers: int = 2, tracker: str = "background", folder=WEIGHTS
) -> list[Clip]:
    """Gives each clip the masks of its dropped object, tracked from the true clip's mask of frame 0.

    Args:
        clips: frames of predictions (anything but `frames` is ignored).
        truths: the clips they predict, in the same order, of the same size, with masks.
        workers: processes of the background tracker; the net uses torch's threads.
        tracker: "background" or "judge".
        folder: the net's weights, see `load_tracker`.

    Returns:
        The clips with `masks` (T, 1, H, W); the mask of a frame in which the object is lost is empty.

    Raises:
        InputError: an unknown tracker, or "reward": models are not judged by the tracker that trained them.
    """
    if tracker == "reward":
        problem = "'reward' trains models and must not judge them"
        raise InputError("arguments", "tracker", problem, f"Use one of {', '.join(EVALUATION)}.")
    check_choice(tracker, EVALUATION, "tracker")
    check_workers(workers)
    pairs = [(clip.frames, true.dropped[0]) for clip, true in zip(clips, truths, strict=True)]
    if tracker == "judge":
        model = load_tracker("judge", folder)
        tracks = [track_net(model, *pair) for pair in pairs]
    else:
        tracks = Parallel(n_jobs=workers)(delayed(track_background)(*pair) for pair in pairs)
    return [replace(clip, masks=track.masks[:, None]) for clip, track in zip(clips, tracks, strict=True)]
