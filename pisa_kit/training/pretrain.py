"""Builds the embedded model from nothing: one training stage after the other."""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan

from pisa_kit.core.devices import processes
from pisa_kit.core.storage import read_json, write_json
from pisa_kit.models.codec import Reconstruction, frame_by_frame, make_autoencoder, object_weight, reconstruction_loss
from pisa_kit.models.embedded import assemble
from pisa_kit.perception.tensors import to_video
from pisa_kit.sim.corpora import CORPUS_SEED, corpus, read_corpus, vary_captions
from pisa_kit.training.loop import train
from pisa_kit.training.psft import cache_latents, train_transformer
from pisa_kit.training.settings import Training

MUON = {"learning_rate": 2e-3, "optimizer": "muon", "ema": 0.99, "log_every": 20}


@dataclass(frozen=True)
class Stage:
    """One stage of the autoencoder's training.

    Args:
        frames: per training clip.
        training: its settings.
        object_weight: of a pixel on the moving object in the loss, see `autoencoder.object_weight`.
        decoder_only: leave the encoder, and so the latents, as they are.
    """

    frames: int
    training: Training
    object_weight: float = 6.0
    decoder_only: bool = False


AUTOENCODER = (  # single frames teach space, short clips time, whole clips what lies far apart; then the object counts
    Stage(1, Training(steps=2000, batch=32, warmup=50, decay=0.2, **MUON)),
    Stage(5, Training(steps=600, batch=8, warmup=50, decay=0.2, **MUON)),
    Stage(17, Training(steps=500, batch=8, warmup=50, decay=0.6, **MUON)),
    Stage(17, Training(steps=360, batch=8, warmup=20, decay=1.0, seed=1, **MUON), object_weight=24.0),
    Stage(
        17, Training(steps=300, batch=8, warmup=20, decay=1.0, seed=2, **MUON), object_weight=60.0, decoder_only=True
    ),
)
MEASURED = 200  # clips behind the latents' mean and standard deviation
BOLD = MUON | {"learning_rate": 6e-3}


@dataclass(frozen=True)
class Diet:
    """One stage of the transformer's training on generic motion.

    Args:
        training: its settings.
        first: scene seed of its first clip; stages with the same one share their clips.
        any_colour: share of scenes with colours from the whole range, see `corpora.recolour`.
        varied: share of captions with other words, see `corpora.vary_captions`.
    """

    training: Training
    first: int
    any_colour: float
    varied: float = 0.0


SECOND = CORPUS_SEED + 500_000
TRANSFORMER = (  # what made the weights that ship; a new build would start with all colours and varied captions
    Diet(Training(steps=3000, batch=16, warmup=50, decay=0.43, **BOLD), CORPUS_SEED, any_colour=0.5),
    Diet(Training(steps=2200, batch=16, warmup=50, decay=0.6, seed=1, **BOLD), SECOND, any_colour=1.0),
    Diet(Training(steps=1000, batch=16, warmup=30, decay=0.7, seed=2, **BOLD), SECOND, any_colour=1.0, varied=0.7),
)


def pretrain_autoencoder(folder, clips: int = 4000, stages: tuple[Stage, ...] = AUTOENCODER, workers: int = 2):
    """Trains the autoencoder on drops and generic motion in all colours; continues after an interruption.

    Args:
        folder: receives corpus_autoencoder/, a folder of log and checkpoint per stage, and vae/ in diffusers' format.
        clips: size of the corpus.
        stages: in order.
    """
    folder = Path(folder)
    frames, masks, _ = read_corpus(
        corpus(folder / "corpus_autoencoder", clips, drops=0.5, any_colour=0.5, workers=workers)
    )
    model = Reconstruction(make_autoencoder())
    for number, stage in enumerate(stages, start=1):
        for name, parameter in model.named_parameters():
            reached = stage.frames > 1 or "time_conv" not in name  # single frames do not pass the latter
            parameter.requires_grad_(reached and (".decoder." in name or not stage.decoder_only))
        batch, label = partial(_autoencoder_batch, frames, masks, stage), f"autoencoder_{number}"
        with frame_by_frame() if stage.frames == 1 else nullcontext():
            train(model, reconstruction_loss, batch, stage.training, folder / label, label)
    measure_latents(model.autoencoder, frames[:MEASURED])
    if processes().is_main_process:
        model.autoencoder.save_pretrained(folder / "vae")
    return model.autoencoder


@torch.no_grad()
def measure_latents(autoencoder: AutoencoderKLWan, frames: np.ndarray):
    """Sets the autoencoder's `latents_mean` and `latents_std` (per channel) from clips (N, T, H, W, 3) uint8."""
    batches = [autoencoder.encode(to_video(frames[i : i + 8])).latent_dist.mean for i in range(0, len(frames), 8)]
    channels = torch.cat(batches).transpose(0, 1).flatten(1)
    mean, std = ([round(float(value), 5) for value in values] for values in (channels.mean(1), channels.std(1)))
    autoencoder.register_to_config(latents_mean=mean, latents_std=std)


def pretrain_transformer(folder, clips: int = 4000, diets: tuple[Diet, ...] = TRANSFORMER, workers: int = 2):
    """Trains the transformer on generic motion alone, with the autoencoder in folder/vae; continues if interrupted.

    Args:
        folder: receives corpus_generic_<first>/, transformer_<n>/ (log and checkpoint) per diet, and embedded/.
        clips: of each diet.
        diets: in order.

    Returns:
        The whole pipeline, also saved in folder/embedded together with the settings of its training.
    """
    folder = Path(folder)
    pipeline = assemble(AutoencoderKLWan.from_pretrained(folder / "vae"))
    for number, diet in enumerate(diets, start=1):
        path = folder / f"corpus_generic_{diet.first}"
        frames, _, captions = read_corpus(corpus(path, clips, 0.0, diet.any_colour, diet.first, workers=workers))
        captions = vary_captions(captions, diet.first, diet.varied)
        cached = cache_latents(pipeline, frames, captions, folder / f"latents_generic_{number}.npz")
        label = f"transformer_{number}"
        pipeline = train_transformer(pipeline, cached, diet.training, folder / label, label)
    if processes().is_main_process:
        pipeline.save_pretrained(folder / "embedded")
        for path in (folder / "embedded").rglob("*.json"):  # without the folders of the machine that made it
            write_json(path, {key: value for key, value in read_json(path).items() if key != "_name_or_path"})
        made = {path.parent.name: read_json(path) for path in sorted(folder.glob("*_[0-9]/settings.json"))}
        write_json(folder / "embedded" / "training.json", made)
    return pipeline


def _autoencoder_batch(frames, masks, stage: Stage, step: int, process: int, processes: int) -> dict:
    """This process's share of a step: windows of `stage.frames` from random clips and times, half of them mirrored."""
    length, settings = stage.frames, stage.training
    rng = np.random.default_rng([settings.seed, length, step])
    chosen = rng.choice(len(frames), settings.batch, replace=False)
    start = rng.integers(frames.shape[1] - length + 1, size=settings.batch)
    flipped = rng.random(settings.batch) < 0.5
    windows = [(clip, slice(first, first + length)) for clip, first in zip(chosen, start, strict=True)]
    share = range(process, settings.batch, processes)
    video = to_video(np.stack([frames[windows[i]] for i in share]))
    shown = torch.from_numpy(np.stack([masks[windows[i]] for i in share]))
    weight = object_weight(shown, stage.object_weight)
    mirrored = torch.from_numpy(flipped[process::processes])
    for array in (video, weight):
        array[mirrored] = array[mirrored].flip(-1)
    return {"video": video, "weight": weight}
