"""Trains the perception nets on the simulator: half of what they see is true frames, half the autoencoder's copies."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from torch import nn

from pisa_kit.core.devices import processes
from pisa_kit.core.errors import InputError, check_choice
from pisa_kit.core.progress import Bar
from pisa_kit.core.storage import read_npz, write_npz
from pisa_kit.models.codec import reconstruct
from pisa_kit.perception import nets
from pisa_kit.perception.guess import GuessNet
from pisa_kit.perception.tensors import to_video
from pisa_kit.sim.corpora import Corpus, read_corpus, read_truth, shard_files
from pisa_kit.sim.datasets import kept_corpus
from pisa_kit.training.loop import seeded, train
from pisa_kit.training.settings import Training

TRACKERS = {"judge": (24, 1), "reward": (16, 2)}  # width and seed; they learn from even and from odd clips
WIDTH = 16  # of the other nets
TRACKER = Training(steps=600, batch=8, learning_rate=2e-3, warmup=30, decay=0.4, log_every=20)
DENSE = Training(steps=800, batch=24, learning_rate=2e-3, warmup=30, decay=0.4, log_every=20)  # flow and depth
GUESS = Training(steps=1500, batch=64, learning_rate=2e-3, warmup=50, decay=0.5, log_every=50)
LATER = 3  # frames per clip and step that a tracker compares with frame 0
GONE = 0.15  # share of training frames from which the object is erased
BLUR = 0.5  # largest share of a 3x3 mean in the frames that the nets see
NOISE = 0.04  # largest standard deviation of the noise on them, in the units of [-1, 1]


def guess_loss(model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Mean distance between the guessed and the true path, image widths.

    Args:
        model: a `GuessNet`.
        batch: "picture" (B, 3, H, W) in [-1, 1], "mask" (B, H, W) bool, "path" (B, T, 2), NaN where out of sight.
    """
    seen = batch["path"].isfinite().all(-1)
    offset = model(batch["picture"], batch["mask"]) - batch["path"].nan_to_num()
    distance = (offset.square().sum(-1) + 1e-8).sqrt() * seen
    return {"loss": distance.sum() / seen.sum()}


def train_guess(frames: np.ndarray, masks: np.ndarray, folder, settings: Training = GUESS) -> GuessNet:
    """Trains a guess on drops; continues after an interruption.

    Args:
        frames: (N, T, H, W, 3) uint8, of which the first of each clip is seen.
        masks: (N, T, H, W) bool, the dropped object.
        folder: receives log and checkpoint.
    """
    area, side = masks.sum((2, 3))[..., None], masks.shape[3]
    centres = np.stack([masks.sum(2) @ np.arange(side), masks.sum(3) @ np.arange(masks.shape[2])], -1) / side
    paths = np.divide(centres, area, out=np.full(centres.shape, np.nan), where=area > 0)
    known = np.flatnonzero(np.isfinite(paths[:, 0, 0]))

    def batch(step: int, process: int, processes: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([settings.seed, step])
        chosen = rng.choice(known, settings.batch)[process::processes]
        turned = (rng.random(settings.batch) < 0.5)[process::processes]
        picture, mask = to_video(frames[chosen, :1])[:, :, 0], torch.from_numpy(masks[chosen, 0])
        path = torch.from_numpy(paths[chosen] - paths[chosen, :1]).float()
        for array in (picture, mask):
            array[turned] = array[turned].flip(-1)
        path[turned, :, 0] *= -1
        return {"picture": picture, "mask": mask, "path": path}

    torch.manual_seed(settings.seed)
    model = GuessNet(WIDTH, masks.shape[1])
    return train(model, guess_loss, batch, settings, folder, "best guess").requires_grad_(False).cpu()


def reconstructed(folder, autoencoder_folder) -> np.ndarray:
    """A corpus' frames (N, T, H, W, 3) uint8 as an autoencoder makes them; kept beside it under its weights' hash."""
    folder, weights = Path(folder), Path(autoencoder_folder) / "diffusion_pytorch_model.safetensors"
    autoencoder = AutoencoderKLWan.from_pretrained(autoencoder_folder)
    kept = folder.with_name(f"{folder.name}_decoded_{hashlib.sha256(weights.read_bytes()).hexdigest()[:8]}")
    for path in Bar(shard_files(folder), desc=f"decoding {folder.name}", unit="file"):
        if not (kept / path.name).exists():
            write_npz(kept / path.name, frames=reconstruct(autoencoder, read_npz(path, "frames")["frames"]))
    return np.concatenate([read_npz(kept / path.name, "frames")["frames"] for path in shard_files(folder)])


@dataclass(frozen=True)
class Pool:
    """Clips of one kind, true or reconstructed, that batches draw from.

    Args:
        frames: (N, T, H, W, 3) uint8.
        masks: (N, T, H, W) bool, the dropped object.
        clips: (M,) int, the clips that may be drawn.
        truth: (N, T or T - 1, H, W, ...) float16, depth or flow, where it is learned.
    """

    frames: np.ndarray
    masks: np.ndarray
    clips: np.ndarray
    truth: np.ndarray | None = None


def pretrain_tracker(
    folder, name: str, clips: int = 2000, settings: Training = TRACKER, workers: int = 2, decoded: int = 1000
) -> nets.MaskTracker:
    """Trains one of the two mask trackers: the one that judges never sees a scene that the reward's sees.

    Args:
        folder: holds vae/; receives the corpora, judge_training/ (or reward_training/) with log and checkpoint, and
            judge/ for `nets.load_net`.
        name: "judge" or "reward".
        clips: of corpus_anything, whose true frames are used; the codec's stages share it.
        decoded: clips of corpus_truth, whose reconstructions are used: the same scenes, so the halves stay apart.

    Raises:
        InputError: another name, or no autoencoder.
    """
    folder, (width, seed) = Path(folder), TRACKERS[check_choice(name, TRACKERS, "tracker")]
    start = list(TRACKERS).index(name)
    _, copies = _perception_pools(folder, decoded, workers)
    frames, masks, _ = read_corpus(kept_corpus(folder, Corpus("anything", clips), workers))
    pools = [Pool(frames, masks, _shown(masks, start)), replace(copies, clips=_shown(copies.masks, start))]
    kind, loss, settings = nets.MaskTracker, nets.tracking_loss, replace(settings, seed=seed)
    return _train(kind, width, loss, _tracker_batch, settings, folder, name, pools)


def pretrain_flow(folder, clips: int = 1000, settings: Training = DENSE, workers: int = 2) -> nets.FlowNet:
    """Trains the flow net on pairs of frames of corpus_truth; folder and errors as in `pretrain_tracker`."""
    pools = _perception_pools(Path(folder), clips, workers, "flow")
    return _train(nets.FlowNet, WIDTH, nets.flow_loss, _flow_batch, settings, folder, "flow", pools)


def pretrain_depth(folder, clips: int = 1000, settings: Training = DENSE, workers: int = 2) -> nets.DepthNet:
    """Trains the depth net on single frames of corpus_truth; folder and errors as in `pretrain_tracker`."""
    pools = _perception_pools(Path(folder), clips, workers, "depth")
    return _train(nets.DepthNet, WIDTH, nets.depth_loss, _depth_batch, settings, folder, "depth", pools)


def pretrain_guess(folder, clips: int = 4096, settings: Training = GUESS, workers: int = 2) -> GuessNet:
    """Trains the net behind *best guess* on the drops that PSFT sees in the default study; folder as above."""
    recipe = Corpus("drops", clips, first=0)
    frames, masks, _ = read_corpus(kept_corpus(folder, recipe, workers))
    model = train_guess(frames, masks, Path(folder) / "guess_training", settings)
    if processes().is_main_process:
        nets.save_net(Path(folder) / "guess", model, WIDTH, asdict(settings), clips=[len(frames)])
    return model


def _perception_pools(folder: Path, clips: int, workers: int, truth: str = "") -> list[Pool]:
    """Two pools of the same clips of corpus_truth: true frames and reconstructed ones."""
    if not (folder / "vae" / "config.json").exists():
        raise InputError(folder / "vae", "autoencoder", "does not exist", "Run `pisa pretrain autoencoder` first.")
    path = kept_corpus(folder, Corpus("anything", clips, truth=True), workers)
    frames, masks, _ = read_corpus(path)
    targets = read_truth(path, truth) if truth else None
    decoded = reconstructed(path, folder / "vae")
    return [Pool(each, masks, np.arange(len(masks)), targets) for each in (frames, decoded)]


def _shown(masks: np.ndarray, start: int) -> np.ndarray:
    """Every second clip from `start` on, without those whose object is not in frame 0."""
    return np.arange(start, len(masks), 2)[masks[start::2, 0].any((1, 2))]


def _train(
    kind: type[nn.Module], width: int, loss: Callable, batch: Callable, settings: Training, folder, name: str, pools
) -> nn.Module:
    """Trains a new net and writes it for `nets.load_net`."""
    torch.manual_seed(settings.seed)
    share, training = partial(batch, pools, settings), Path(folder) / f"{name}_training"
    model = train(kind(width), loss, share, settings, training, label=name)
    if processes().is_main_process:
        nets.save_net(Path(folder) / name, model, width, asdict(settings), clips=[len(pool.clips) for pool in pools])
    return model


# --- batches: this process's share of a step, which depends on the seed and the step alone --------------------------


def _draw(pools: list[Pool], count: int, rng: np.random.Generator) -> list[tuple[Pool, int]]:
    """`count` random clips, from each pool in turn."""
    return [(pool, rng.choice(pool.clips)) for pool in (pools[index % len(pools)] for index in range(count))]


def _tracker_batch(pools: list[Pool], settings: Training, step: int, process: int, processes: int) -> dict:
    """Frame 0 and `LATER` others of clips, some of which the object is erased from."""
    rng = np.random.default_rng([settings.seed, step])
    share = slice(process, None, processes)
    chosen, count = _draw(pools, settings.batch, rng)[share], pools[0].frames.shape[1]
    gone = rng.random((settings.batch, count)) < GONE
    times = np.pad(rng.random((settings.batch, count - 1)).argsort(1)[:, :LATER] + 1, ((0, 0), (1, 0)))
    video = to_video(np.stack([pool.frames[clip] for pool, clip in chosen]))
    masks = torch.from_numpy(np.stack([pool.masks[clip] for pool, clip in chosen]))
    gone[:, 0] = False
    video, masks = nets.erase(video, masks, torch.from_numpy(gone[share]))
    rows, times = torch.arange(len(chosen))[:, None], torch.from_numpy(times[share])
    video = video.transpose(1, 2)[rows, times].transpose(1, 2)
    return {"video": _roughen(video, settings.seed, step, process, processes), "masks": masks[rows, times]}


def _flow_batch(pools: list[Pool], settings: Training, step: int, process: int, processes: int) -> dict:
    video, masks, flow, turn = _windows(pools, 2, settings, step, process, processes)
    flow = flow.permute(0, 3, 1, 2) * torch.stack([turn, torch.ones_like(turn)], 1)[..., None, None]
    return {"first": video[:, :, 0], "second": video[:, :, 1], "masks": masks, "flow": flow}


def _depth_batch(pools: list[Pool], settings: Training, step: int, process: int, processes: int) -> dict:
    video, masks, depth, _ = _windows(pools, 1, settings, step, process, processes)
    return {"picture": video[:, :, 0], "masks": masks, "depth": depth}


def _windows(pools: list[Pool], length: int, settings: Training, step: int, process: int, processes: int) -> tuple:
    """Short windows of random clips, half of them mirrored.

    Returns:
        Video (B, 3, length, H, W), mask (B, H, W) and truth (B, H, W, ...) of the first frame, and -1 for the mirrored
        windows, 1 for the others (B,).
    """
    rng = np.random.default_rng([settings.seed, step])
    chosen = _draw(pools, settings.batch, rng)
    start = rng.integers(pools[0].frames.shape[1] - length + 1, size=settings.batch)
    turn = rng.choice([-1, 1], settings.batch)
    frames, masks, truth = [], [], []
    for (pool, clip), first, sign in list(zip(chosen, start, turn, strict=True))[process::processes]:
        frames.append(pool.frames[clip, first : first + length, :, ::sign])
        masks.append(pool.masks[clip, first, :, ::sign])
        truth.append(pool.truth[clip, first, :, ::sign])
    video = _roughen(to_video(np.stack(frames)), settings.seed, step, process, processes)
    masks, truth = torch.from_numpy(np.stack(masks)), torch.from_numpy(np.stack(truth)).float()
    return video, masks, truth, torch.from_numpy(turn[process::processes])


def _roughen(video: torch.Tensor, seed: int, step: int, process: int, processes: int) -> torch.Tensor:
    """Blurs the clips of a share (B, 3, T, H, W) and puts noise on them, each clip by its own amounts."""
    clips = []
    for index, clip in enumerate(video):
        generator = seeded(seed, step, process + index * processes)
        blur, noise = torch.rand(2, generator=generator)
        mean = F.avg_pool2d(clip, 3, stride=1, padding=1, count_include_pad=False)
        clips.append(clip.lerp(mean, BLUR * blur) + NOISE * noise * torch.randn(clip.shape, generator=generator))
    return torch.stack(clips)
