"""Image and caption to video: a diffusers pipeline in batches, resumed and described; or videos made elsewhere."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from diffusers import DiffusionPipeline

from pisa_kit.clips.clip import Clip
from pisa_kit.clips.formats import find_clips, read_clip, write_clip
from pisa_kit.clips.resize import resample, to_square
from pisa_kit.core.checks import Few, Finite, Fps, Frames, Seed, Side, Text, check, check_fields, check_same
from pisa_kit.core.devices import device, processes
from pisa_kit.core.errors import InputError
from pisa_kit.core.progress import Bar
from pisa_kit.core.storage import read_json, write_json
from pisa_kit.models.conditioning import condition
from pisa_kit.models.families import family_of
from pisa_kit.models.prompts import template, worded
from pisa_kit.models.sampling import noise_like, sample, seed_of
from pisa_kit.models.zoo import StockModel, check_shape, enough_memory
from pisa_kit.perception.tensors import to_frames, to_video


@dataclass(frozen=True)
class Protocol:
    """How videos are generated; written beside them.

    Args:
        model: name or path of the pipeline.
        revision: of its weights, e.g. a hash.
        steps: sampling steps.
        guidance: classifier-free guidance scale; 1 means none.
        size, frames, fps: of the videos.
        template: what the caption is put into, see `prompts.template`.
    """

    model: str
    revision: str = ""
    steps: Few = 10
    guidance: Finite = 1.0
    size: Side = 64
    frames: Frames = 17
    fps: Fps = 16
    template: Text = "{caption}"

    def __post_init__(self):
        check_fields(self, "arguments")
        object.__setattr__(self, "template", template(self.template))


def generate(
    pipeline: DiffusionPipeline | StockModel,
    protocol: Protocol,
    truths: list[Clip],
    seed: int,
    folder,
    batch: int = 16,
) -> list[Clip]:
    """Generates a video for each clip's first frame and caption; what is in `folder` already is kept.

    Each video depends on its own seed (from `seed` and the clip's place) and first frame. A batch is always the same
    clips, however many of them are there already and whichever process makes it, so that the videos are the same to
    the byte after an interruption and with any number of processes (`accelerate launch`, torchrun).

    Args:
        pipeline: one that can be trained here (`families.TRAINABLE`), filmed with our sampler, or a model of the zoo.
        protocol: settings; a folder made with others is refused.
        truths: clips that give first frame, caption and name.
        seed: of the noise.
        folder: receives one npz per video and manifest.json.
        batch: videos sampled together.

    Returns:
        Clips of frames alone, in the order of `truths`.

    Raises:
        InputError: frames that do not fit the model, or a folder of another protocol.
    """
    folder, truths = Path(folder), worded(truths, protocol.template)
    manifest = folder / "manifest.json"
    check(Few, batch, "arguments", "batch")
    wanted = asdict(protocol) | {"seed": check(Seed, seed, "arguments", "seed")}
    if isinstance(pipeline, StockModel):
        wanted |= pipeline.describe()
    else:
        check_frames(pipeline, protocol)
    if manifest.exists():
        check_same(check(dict, read_json(manifest), manifest), wanted, manifest, "the videos that are already there")
    crew = processes()
    if crew.is_main_process:
        write_json(manifest, wanted)
    paths = [folder / f"{truth.name}.npz" for truth in truths]
    groups = [range(start, min(start + batch, len(truths))) for start in range(0, len(truths), batch)]
    missing = {group: [index for index in group if not paths[index].exists()] for group in groups}
    mine = [group for group in groups[crew.process_index :: crew.num_processes] if missing[group]]
    total = sum(len(missing[group]) for group in mine)
    bar = Bar(total=total, desc=f"generating {folder.name}", unit="video", disable=not mine)
    for group in mine:
        videos = _sample_group(pipeline, protocol, [truths[index] for index in group], [seed, *group])
        for index in missing[group]:
            truth = truths[index]
            info = {"protocol": wanted, "given": fingerprint(truth)}
            clip = Clip(videos[index - group.start], protocol.fps, caption=truth.caption, name=truth.name, info=info)
            write_clip(clip, paths[index])
        bar.update(len(missing[group]))
    crew.wait_for_everyone()
    videos = [read_clip(path) for path in paths]
    for truth, video, path in zip(truths, videos, paths, strict=True):
        if video.info.get("given") != fingerprint(truth):
            problem = "are not those this video was made from"
            raise InputError(path, "first frame, caption", problem, "Choose another folder, or delete the video.")
    return videos


def fingerprint(truth: Clip) -> str:
    """Changes with what a video is made from: the clip's name, caption and first frame."""
    return hashlib.sha256(f"{truth.name}\n{truth.caption}\n".encode() + truth.frames[0].tobytes()).hexdigest()[:16]


def _sample_group(pipeline, protocol: Protocol, truths: list[Clip], seeds: list[int]) -> np.ndarray:
    """Videos (B, T, H, W, 3) uint8; `seeds` holds the run's seed and each clip's place."""
    each = [seed_of(seeds[0], place) for place in seeds[1:]]
    if isinstance(pipeline, StockModel):
        return pipeline.generate(protocol, truths, each)
    first = to_video(np.stack([truth.frames[:1] for truth in truths])).to(device())
    latent_frames = (protocol.frames - 1) // family_of(pipeline).strides(pipeline).frames + 1
    asked = f"with {len(truths)} videos of {protocol.frames} frames at {protocol.size} px"
    with enough_memory(protocol.model, asked, "Film fewer together, or smaller ones."):
        cond = condition(pipeline, first[:, :, 0], [truth.caption for truth in truths], protocol.guidance)
        noise = noise_like(cond, latent_frames, each)
        video = sample(pipeline, cond, noise, protocol.steps, protocol.guidance)
    if not video.isfinite().all():
        problem = "gives videos with values that are not numbers"
        raise InputError(protocol.model, "weights", problem, "Restore them from their source.")
    return to_frames(video)


def check_frames(pipeline: DiffusionPipeline, protocol: Protocol):
    """Raises InputError unless the frame count and size fit the autoencoder's and the transformer's strides."""
    strides = family_of(pipeline).strides(pipeline)
    check_shape(protocol.model, protocol.frames, strides.frames, strides.multiple, size=protocol.size)


def read_videos(folder, truths: list[Clip], fps: float | None = None) -> tuple[list[Clip], list[tuple[str, str]]]:
    """Finished videos from anywhere (mp4, gif, npz, frame folders), matched to the true clips by name.

    They are brought to the true clip's size and, frame by nearest frame, to its frame rate; none becomes longer.

    Args:
        folder: holds one video per clip, named like it: `00000.mp4`, `seen/00.gif`, or a folder `00000`.
        fps: overrides the videos' own rate; frame folders have none.

    Returns:
        The videos found, in the order of `truths`, and (name, reason) of those that are missing or unreadable.
    """
    located, videos, failures = {one.name: one for one in find_clips(folder)}, [], []
    for truth in truths:
        if truth.name not in located:
            failures.append((truth.name, "has no video"))
            continue
        try:
            videos.append(_matched(read_clip(located[truth.name], fps), truth))
        except InputError as error:
            failures.append((truth.name, str(error)))
    return videos, failures


def _matched(video: Clip, truth: Clip) -> Clip:
    bare = to_square(Clip(video.frames, video.fps, video.masks, name=truth.name), truth.frames.shape[1])
    if bare.fps == truth.fps:
        return bare.select(np.arange(min(len(bare), len(truth))), bare.fps)
    covered = int((len(bare) - 1) / bare.fps * truth.fps + 1e-9) + 1
    return resample(bare, truth.fps, min(covered, len(truth)))
