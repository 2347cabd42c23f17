"""Builds the embedded model from nothing: the codec on single pictures, then the transformer on generic motion."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan

from pisa_kit.core import artefacts
from pisa_kit.core.devices import device, processes
from pisa_kit.core.storage import loadable, read_json, write_json
from pisa_kit.models import codec
from pisa_kit.models.embedded import assemble, load
from pisa_kit.perception.tensors import to_video
from pisa_kit.sim.corpora import (
    CORPUS_SEED,
    Corpus,
    read_captions,
    read_corpus,
    read_parts,
    vary_captions,
)
from pisa_kit.sim.datasets import kept_corpus
from pisa_kit.training.latents import cache_latents
from pisa_kit.training.loop import train
from pisa_kit.training.psft import train_transformer
from pisa_kit.training.settings import Training

MUON = {"optimizer": "muon", "ema": 0.995, "warmup": 50, "log_every": 20}
SIDE = 32  # pixels of a crop
CROPS = 3  # crops in place of a picture
JITTER = 12  # pixels, largest distance of a crop's centre from the object's


@dataclass(frozen=True)
class CodecStage:
    """One stage of the autoencoder's training.

    Args:
        training: its settings.
        crops: first share of the steps that see crops around objects instead of whole pictures; the object is small.
        object_weight: of a pixel on the object in the loss, see `codec.object_weight`.
        latent_noise, square: see `codec.reconstruction_loss`.
    """

    training: Training
    crops: float
    object_weight: float
    latent_noise: float
    square: float


CODEC = (  # the whole picture first, then the object above all
    CodecStage(Training(5000, 32, 2e-3, decay=0.3, **MUON), 0.7, object_weight=12, latent_noise=0.15, square=2),
    CodecStage(Training(1500, 32, 1e-3, decay=0.9, seed=1, **MUON), 0.5, object_weight=40, latent_noise=0.05, square=6),
)
MEASURED = 200  # clips behind the latents' mean and standard deviation
TRANSFORMER = Training(20_000, 16, 6e-3, decay=0.3, mixed_noise=0.5, checkpoint_every=200, **MUON)
DIET_SEED = CORPUS_SEED + 500_000
VARIED = 0.6  # share of captions with other words, see `corpora.vary_captions`


def pretrain_autoencoder(
    folder, clips: int = 2000, stages: tuple[CodecStage, ...] = CODEC, workers: int = 2, start: Path | None = None
):
    """Trains the autoencoder on pictures of drops and of generic motion; continues after an interruption.

    Args:
        folder: receives corpus_anything/, a folder of log and checkpoint per stage, and vae/ in diffusers' format.
        clips: size of the corpus.
        stages: in order.
        start: a pipeline whose transformer goes on with the new codec: the new latents are tied to those of its own.
    """
    folder = Path(folder)
    like = None if start is None else load(start).vae.requires_grad_(False).to(device())
    frames, masks, _ = read_corpus(kept_corpus(folder, Corpus("anything", clips), workers))
    pictures = Pictures(frames.reshape(-1, *frames.shape[2:]), masks.reshape(-1, *masks.shape[2:]))
    model = codec.Reconstruction(codec.make_autoencoder())
    for number, stage in enumerate(stages, start=1):
        label = f"autoencoder_{number}"
        loss = partial(codec.reconstruction_loss, square=stage.square, latent_noise=stage.latent_noise, like=like)
        with codec.only_space(model.autoencoder):
            about = {"start": like and artefacts.weights(like)}
            train(model, loss, partial(pictures.batch, stage), stage.training, folder / label, label, about=about)
    model.autoencoder.cpu()
    if like is None:
        measure_latents(model.autoencoder, frames[:MEASURED])
    else:
        model.autoencoder.register_to_config(**{name: like.config[name] for name in ("latents_mean", "latents_std")})
    if processes().is_main_process:
        model.autoencoder.save_pretrained(folder / "vae")
    return model.autoencoder


class Pictures:
    """Training pictures with an object in each.

    Args:
        frames: (N, H, W, 3) uint8.
        masks: (N, H, W) bool, the object.
    """

    def __init__(self, frames: np.ndarray, masks: np.ndarray):
        self.frames, self.masks = frames, masks
        area = np.maximum(masks.sum((1, 2)), 1)
        rows, columns = (np.arange(size) for size in masks.shape[1:])
        self.centres = np.stack([masks.sum(2) @ rows / area, masks.sum(1) @ columns / area], 1)
        self.empty = ~masks.any((1, 2))

    def batch(self, stage: CodecStage, step: int, process: int, processes: int) -> dict[str, torch.Tensor]:
        """This process's share of a step for `reconstruction_loss`, half of it mirrored."""
        settings, (height, width) = stage.training, self.masks.shape[1:]
        rng = np.random.default_rng([settings.seed, step])
        small = step < stage.crops * settings.steps
        count = CROPS * settings.batch if small else settings.batch
        chosen, mirrored = rng.integers(len(self.frames), size=count), rng.random(count) < 0.5
        corners, shown = np.zeros((count, 2), int), (height, width)
        if small:
            anywhere = rng.random((count, 2)) * (height, width)
            centres = np.where(self.empty[chosen, None], anywhere, self.centres[chosen])
            corners = centres + rng.integers(-JITTER, JITTER + 1, (count, 2)) - SIDE // 2
            corners, shown = np.clip(corners, 0, (height - SIDE, width - SIDE)).astype(int), (SIDE, SIDE)
        ends = corners + shown
        share = range(process, count, processes)
        views = [(chosen[i], *map(slice, corners[i], ends[i])) for i in share]
        video = to_video(np.stack([self.frames[view] for view in views])[:, None])
        masks = torch.from_numpy(np.stack([self.masks[view] for view in views]))[:, None]
        weight = codec.object_weight(masks, stage.object_weight)
        turned = torch.from_numpy(mirrored[process::processes])
        for array in (video, weight):
            array[turned] = array[turned].flip(-1)
        return {"video": video, "weight": weight}


@torch.no_grad()
def measure_latents(autoencoder: AutoencoderKLWan, frames: np.ndarray):
    """Sets the autoencoder's `latents_mean` and `latents_std` (per channel) from clips (N, T, H, W, 3) uint8."""
    batches = [codec.encode(autoencoder, to_video(frames[i : i + 8])) for i in range(0, len(frames), 8)]
    channels = torch.cat(batches).transpose(0, 1).flatten(1)
    mean, std = ([round(float(value), 5) for value in values] for values in (channels.mean(1), channels.std(1)))
    autoencoder.register_to_config(latents_mean=mean, latents_std=std)


def pretrain_transformer(
    folder, clips: int = 16_000, settings: Training = TRANSFORMER, workers: int = 2, start: Path | None = None
):
    """Trains the transformer on generic motion alone, with the autoencoder in folder/vae; continues if interrupted.

    Args:
        folder: receives corpus_diet/, transformer/ (log and checkpoint) and embedded/.
        clips: of the diet.
        start: a pipeline to go on from instead of nothing, see `take_over`.

    Raises:
        InputError: `start` has a transformer or a text encoder of another size; a run from another start is there.

    Returns:
        The whole pipeline, also saved in folder/embedded together with the settings of its training.
    """
    folder = Path(folder)
    pipeline = assemble(AutoencoderKLWan.from_pretrained(folder / "vae"))
    about = {"start": None}
    if start is not None:
        former = load(start)
        about = {"start": artefacts.model(former)}
        take_over(pipeline, former, start)
    corpus = kept_corpus(folder, Corpus("diet", clips, DIET_SEED), workers)
    captions = vary_captions(read_captions(corpus), DIET_SEED, VARIED)
    cached = cache_latents(pipeline, read_parts(corpus), captions, folder / "latents_diet")
    pipeline = train_transformer(pipeline, cached, settings, folder / "transformer", "transformer", about=about)
    if processes().is_main_process:
        save_embedded(pipeline, folder)
    return pipeline


def take_over(pipeline, former, path: Path):
    """Gives the pipeline the former one's transformer and, word by word, its text encoder.

    New words stay random, words that are gone are left out.
    """
    with loadable(path, "transformer or text encoder", "Start from an embedded base of the same size."):
        pipeline.transformer.load_state_dict(former.transformer.state_dict())
        new, old = pipeline.text_encoder.state_dict(), former.text_encoder.state_dict()
        known, before = (each.tokenizer.get_vocab() for each in (pipeline, former))
        rows = [[index, before[word]] for word, index in known.items() if word in before]
        ours, theirs = torch.tensor(rows).T
        for name, value in new.items():
            if name.endswith(("shared.weight", "embed_tokens.weight")):  # a row per word
                value[ours] = old[name][theirs]
            else:
                value.copy_(old[name])


def save_embedded(pipeline, folder: Path):
    """Writes folder/embedded: the pipeline, and the settings of all stages in `folder` as training.json."""
    pipeline.save_pretrained(folder / "embedded")
    for path in (folder / "embedded").rglob("*.json"):  # without the folders of the machine that made it
        write_json(path, {key: value for key, value in read_json(path).items() if key != "_name_or_path"})
    made = {path.parent.name: read_json(path) for path in sorted(folder.glob("*/settings.json"))}
    write_json(folder / "embedded" / "training.json", made)
