"""Builds the embedded model from nothing: its corpora from the simulator, then one training stage after the other."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from diffusers import AutoencoderKLWan
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from pisa_kit.autoencoder import Reconstruction, frame_by_frame, make_autoencoder, object_weight, reconstruction_loss
from pisa_kit.conditioning import to_video
from pisa_kit.embedded import assemble
from pisa_kit.files import check_choice, read_npz, write_npz
from pisa_kit.motion import sample_motion
from pisa_kit.presets import Ranges, Training, Video
from pisa_kit.psft import cache_latents, train_transformer
from pisa_kit.scenes import Scene, sample
from pisa_kit.simulate import simulate
from pisa_kit.tiny_nets import MaskTracker, erase, tracking_loss
from pisa_kit.training import train

CORPUS_SEED = 1_000_000  # scene seeds of the corpora; PSFT's count up from 0, held-out ones from 10,000,000
SHARD = 100  # clips per file
VIDEO, RANGES = Video(), Ranges()
MUON = {"learning_rate": 2e-3, "optimizer": "muon", "ema": 0.99, "log_every": 20}
AUTOENCODER = {  # frames per clip: single frames teach space, short clips time, whole clips what lies far apart
    1: Training(steps=2000, batch=32, warmup=50, decay=0.2, **MUON),
    5: Training(steps=600, batch=8, warmup=50, decay=0.2, **MUON),
    17: Training(steps=500, batch=8, warmup=50, decay=0.6, **MUON),
}
MEASURED = 200  # clips behind the latents' mean and standard deviation
TRANSFORMER = Training(steps=3000, batch=16, learning_rate=1e-3, warmup=100, decay=0.3, ema=0.995, log_every=20)
TRACKER = Training(steps=1500, batch=8, learning_rate=2e-3, warmup=50, decay=0.4, ema=0.99, log_every=20)
TRACKERS = {"judge": (24, 1), "reward": (16, 2)}  # width and seed; each learns from its own half of the corpus
GONE = 0.15  # share of training frames from which the object is erased


def recolour(scene: Scene, seed: int) -> Scene:
    """The scene with every colour drawn anew from all colours, so that the codec is not tied to a palette."""
    rng = np.random.default_rng([seed, 3])
    colour = lambda: tuple(map(float, rng.uniform(0.05, 0.95, 3)))  # noqa: E731
    things = tuple(replace(thing, rgb=colour()) for thing in scene.things)
    return replace(
        scene, things=things, floor=replace(scene.floor, rgb=colour()), wall=replace(scene.wall, rgb=colour())
    )


def corpus(
    folder,
    count: int,
    drops: float,
    any_colour: float,
    first: int = CORPUS_SEED,
    ranges: Ranges = RANGES,
    workers: int = 2,
) -> Path:
    """Simulates a corpus of seen shapes and textures in files of at most `SHARD` clips; finished files are kept.

    Args:
        count: clips.
        drops: share of real drops; the others show generic motion (`motion.sample_motion`).
        any_colour: share of scenes with colours from the whole range instead of the seen palette.
        first: scene seed of the first clip.
        ranges: what scenes are drawn from.
        workers: processes.
    """
    folder = Path(folder)
    starts, recipe = range(0, count, SHARD), (drops, any_colour, first, ranges)
    jobs = (delayed(_write_shard)(folder, start, min(SHARD, count - start), *recipe) for start in starts)
    shards = Parallel(n_jobs=workers, return_as="generator")(jobs)
    done = all((folder / f"{start // SHARD:04d}.npz").exists() for start in starts)
    list(tqdm(shards, total=len(starts), desc=f"simulating {folder.name}", unit=f"{SHARD} clips", disable=done))
    return folder


def _write_shard(folder: Path, start: int, count: int, drops: float, any_colour: float, first: int, ranges: Ranges):
    path = folder / f"{start // SHARD:04d}.npz"
    if path.exists():
        return
    clips = [_clip(first + start + index, drops, any_colour, ranges) for index in range(count)]
    captions = np.frombuffer("\n".join(clip.caption for clip in clips).encode(), np.uint8)
    frames, masks = np.stack([clip.frames for clip in clips]), np.stack([clip.dropped for clip in clips])
    write_npz(path, frames=frames, masks=np.packbits(masks, axis=-1), captions=captions)


def _clip(seed: int, drops: float, any_colour: float, ranges: Ranges):
    rng = np.random.default_rng([seed, 4])
    scene = sample(seed, ranges)
    if rng.random() < any_colour:
        scene = recolour(scene, seed)
    motion = None if rng.random() < drops else sample_motion(scene, seed, (VIDEO.frames - 1) / VIDEO.fps)
    return simulate(scene, VIDEO.size, VIDEO.frames, VIDEO.fps, motion=motion)


def read_corpus(folder) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Frames (N, T, H, W, 3) uint8, masks (N, T, H, W) bool and captions of a corpus."""
    shards = [read_npz(path) for path in sorted(Path(folder).glob("[0-9]*.npz"))]
    frames = np.concatenate([shard["frames"] for shard in shards])
    masks = np.concatenate([np.unpackbits(shard["masks"], axis=-1).astype(bool) for shard in shards])
    captions = [line for shard in shards for line in shard["captions"].tobytes().decode().split("\n")]
    return frames, masks, captions


def pretrain_autoencoder(folder, clips: int = 4000, stages: dict[int, Training] = AUTOENCODER, workers: int = 2):
    """Trains the autoencoder on drops and generic motion in all colours; continues after an interruption.

    Args:
        folder: receives corpus_autoencoder/, a folder of log and checkpoint per stage, and vae/ in diffusers' format.
        clips: size of the corpus.
        stages: frames per training clip to the settings of that stage, in order.
    """
    folder = Path(folder)
    frames, masks, _ = read_corpus(
        corpus(folder / "corpus_autoencoder", clips, drops=0.5, any_colour=0.5, workers=workers)
    )
    model = Reconstruction(make_autoencoder())
    for length, settings in stages.items():
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(length > 1 or "time_conv" not in name)  # single frames never reach these
        batch = partial(_autoencoder_batch, frames, masks, length, settings)
        stage = f"autoencoder_{length}_frames"
        with frame_by_frame() if length == 1 else nullcontext():
            train(model, reconstruction_loss, batch, settings, folder / stage, label=stage)
    measure_latents(model.autoencoder, frames[:MEASURED])
    if PartialState().is_main_process:
        model.autoencoder.save_pretrained(folder / "vae")
    return model.autoencoder


@torch.no_grad()
def measure_latents(autoencoder: AutoencoderKLWan, frames: np.ndarray):
    """Sets the autoencoder's `latents_mean` and `latents_std` (per channel) from clips (N, T, H, W, 3) uint8."""
    batches = [autoencoder.encode(to_video(frames[i : i + 8])).latent_dist.mean for i in range(0, len(frames), 8)]
    channels = torch.cat(batches).transpose(0, 1).flatten(1)
    mean, std = ([round(float(value), 5) for value in values] for values in (channels.mean(1), channels.std(1)))
    autoencoder.register_to_config(latents_mean=mean, latents_std=std)


def pretrain_transformer(folder, clips: int = 4000, settings: Training = TRANSFORMER, workers: int = 2):
    """Trains the transformer on generic motion alone, with the autoencoder in folder/vae; continues if interrupted.

    Returns:
        The whole pipeline, also saved in folder/transformer/pipeline.
    """
    folder = Path(folder)
    frames, _, captions = read_corpus(
        corpus(folder / "corpus_generic", clips, drops=0.0, any_colour=0.5, workers=workers)
    )
    pipeline = assemble(AutoencoderKLWan.from_pretrained(folder / "vae"))
    cached = cache_latents(pipeline, frames, captions, folder / "latents_generic.npz")
    return train_transformer(pipeline, cached, settings, folder / "transformer", label="transformer")


def _autoencoder_batch(frames, masks, length: int, settings: Training, step: int, process: int, processes: int) -> dict:
    """This process's share of a step: windows of `length` frames from random clips and times, half of them mirrored."""
    rng = np.random.default_rng([settings.seed, length, step])
    chosen = rng.choice(len(frames), settings.batch, replace=False)
    start = rng.integers(frames.shape[1] - length + 1, size=settings.batch)
    flipped = rng.random(settings.batch) < 0.5
    windows = [(clip, slice(first, first + length)) for clip, first in zip(chosen, start, strict=True)]
    share = range(process, settings.batch, processes)
    video = to_video(np.stack([frames[windows[i]] for i in share]))
    weight = object_weight(torch.from_numpy(np.stack([masks[windows[i]] for i in share])))
    mirrored = torch.from_numpy(flipped[process::processes])
    for array in (video, weight):
        array[mirrored] = array[mirrored].flip(-1)
    return {"video": video, "weight": weight}


def pretrain_tracker(
    folder, name: str, clips: int = 4000, settings: Training = TRACKER, workers: int = 2
) -> MaskTracker:
    """Trains one of the two mask trackers on true frames: the one that judges never sees what the reward's sees.

    Args:
        folder: as in `pretrain_autoencoder`, whose corpus it shares.
        name: "judge" or "reward".
    """
    folder, (width, seed) = Path(folder), TRACKERS[check_choice(name, TRACKERS, "tracker")]
    frames, masks, _ = read_corpus(
        corpus(folder / "corpus_autoencoder", clips, drops=0.5, any_colour=0.5, workers=workers)
    )
    half = slice(list(TRACKERS).index(name), None, 2)
    batch = partial(_tracker_batch, frames[half], masks[half], replace(settings, seed=seed))
    torch.manual_seed(seed)
    model = MaskTracker(width)
    return train(model, tracking_loss, batch, replace(settings, seed=seed), folder / f"tracker_{name}", label=name)


def _tracker_batch(frames, masks, settings: Training, step: int, process: int, processes: int) -> dict:
    """This process's share of a step: whole clips whose object is in frame 0, erased from some later frames."""
    rng = np.random.default_rng([settings.seed, step])
    shown = np.flatnonzero(masks[:, 0].any((1, 2)))
    chosen = rng.choice(shown, settings.batch, replace=False)[process::processes]
    gone = rng.random((settings.batch, frames.shape[1])) < GONE
    gone[:, 0] = False
    video, labels = to_video(frames[chosen]), torch.from_numpy(masks[chosen])
    video, labels = erase(video, labels, torch.from_numpy(gone[process::processes]))
    return {"video": video, "masks": labels}
