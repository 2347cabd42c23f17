"""Commands that film with models, train and publish them."""

from functools import partial
from pathlib import Path

import typer

from pisa_kit.cli import command, use_tracker
from pisa_kit.core.errors import InputError


@command
def generate(
    model: str,
    data: Path,
    out: Path,
    path: Path | None = None,
    lora: Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    template: str = "plain",
    device: str = "cpu",
    offload: bool = False,
):
    """Film every clip from its first frame and caption with an image-to-video model; at its size, length and rate.

    Args:
        model: embedded, or a model of the zoo, e.g. ltx-video.
        data: Clips made ready by `pisa prepare`.
        out: Folder for the videos; an interrupted call continues.
        path: Weights in diffusers' format. Default: what ships, or the hub.
        lora: Adapter in diffusers' format, file or folder, e.g. adapter_400 of a run. The model then films as it was
            tuned: at the clips' size, length and rate, with the study's sampler.
        seed: Of the noise.
        steps: Sampling steps. Default: the model's own.
        guidance: Classifier-free guidance scale; 1: none. Default: the model's own.
        template: plain, static (says that the camera does not move), or a text with {caption}.
        device: Of a zoo model without an adapter: cpu, cuda or cuda:1. Others use the GPU if there is one.
        offload: Of a zoo model without an adapter: keep only the part that works on the GPU.
    """
    from typing import Literal

    import torch

    from pisa_kit.core import artefacts
    from pisa_kit.core.checks import Few, check
    from pisa_kit.core.devices import no_gpu
    from pisa_kit.core.errors import check_choice
    from pisa_kit.models.adapters import load_adapter
    from pisa_kit.models.embedded import BASE, load
    from pisa_kit.models.families import class_in, names_of
    from pisa_kit.models.generation import Protocol
    from pisa_kit.models.generation import generate as generate_videos
    from pisa_kit.models.zoo import ZOO, open_model
    from pisa_kit.perception.prepare import read_prepared
    from pisa_kit.study.presets import PRESETS

    check_choice(model, ("embedded", *ZOO), "model")
    truths = read_prepared(data)
    shapes = {(truth.frames.shape[1], len(truth), truth.fps) for truth in truths}
    if len(shapes) > 1:
        problem = f"differ from clip to clip in size, frames or fps ({len(shapes)} kinds)"
        raise InputError(data, "clips", problem, "Prepare them with --frames and --fps.")
    check(Few | None, steps, "arguments", "steps")
    shape = dict(zip(("size", "frames", "fps"), shapes.pop(), strict=True)) | {"template": template}
    if lora or model == "embedded":  # as it was tuned, not as its makers film
        if path is None and model != "embedded":
            remedy = f"Get it with `pisa download {model}` and name its folder: --path downloads/{model}"
            raise InputError("arguments", "path", "is missing: an adapter is put on weights in a folder", remedy)
        gpu = PRESETS["gpu"]
        own, batch = (5, 1.0), 16
        if model != "embedded":
            check(Literal[names_of(ZOO[model].pipeline)], class_in(path), path, "_class_name", "Name its own folder.")
            own, batch = (gpu.sampling_steps, ZOO[model].guidance or 1.0), 1
        opened = load(path or BASE, torch.bfloat16 if model != "embedded" and not no_gpu() else torch.float32)
        if lora:
            load_adapter(opened, lora)
        revision = artefacts.model(opened)
    else:
        opened, batch, revision = open_model(model, path, device, offload), 1, ""
        own = opened.spec.steps, opened.spec.guidance or 1.0
    protocol = Protocol(model, revision, steps or own[0], own[1] if guidance is None else guidance, **shape)
    generate_videos(opened, protocol, truths, seed, out, batch)
    typer.echo(f"{len(truths)} videos in {out}")


@command
def models():
    """List the image-to-video models: what each was made for, which can be trained, and what of it was run here."""
    from pisa_kit.models.families import TRAINABLE
    from pisa_kit.models.zoo import ZOO

    trained = {family.recommended for family in TRAINABLE}
    line = "{:<23} {:>9} {:>6} {:>4} {:>5} {:>8}  {:<5} {}".format
    typer.echo(
        line("name", "size", "frames", "fps", "steps", "guidance", "train", "run here, with small random weights")
    )
    for name, spec in ZOO.items():
        size, guidance = f"{spec.height}x{spec.width}", "-" if spec.guidance is None else f"{spec.guidance:g}"
        numbers = f"{spec.frames}", f"{spec.fps:g}", f"{spec.steps}", guidance
        typer.echo(line(name, size, *numbers, "yes" if name in trained else "", spec.tried))
    typer.echo("No real checkpoint was run here.")


@command
def pretrain(
    stage: str,
    out: Path = Path("runs/pretrain"),
    clips: int | None = None,
    start: Path | None = None,
    workers: int = 2,
    log_with: str | None = None,
):
    """Rebuild a part of what ships from nothing; call it again to continue after an interruption.

    All others but guess need the autoencoder first. Several training processes, also on one CPU:
    torchrun --nproc_per_node 2 -m pisa_kit.cli pretrain autoencoder

    Args:
        stage: autoencoder, transformer, judge or reward (mask trackers), flow, depth or guess.
        out: Folder for corpora, logs, checkpoints and weights.
        clips: Clips in the corpus. Default: the stage's own.
        start: For autoencoder and transformer: a former base to go on from (transformer, likeness of latents).
        workers: Processes that simulate.
    """
    from pisa_kit.core.checks import Count, Few, check
    from pisa_kit.core.errors import check_choice
    from pisa_kit.training.pretrain import pretrain_autoencoder, pretrain_transformer
    from pisa_kit.training.pretrain_perception import (
        TRACKERS,
        pretrain_depth,
        pretrain_flow,
        pretrain_guess,
        pretrain_tracker,
    )

    use_tracker(log_with)
    check(Count | None, clips, "arguments", "clips")
    check(Few, workers, "arguments", "workers")
    stages = {name: partial(pretrain_tracker, name=name) for name in TRACKERS}
    stages |= {"flow": pretrain_flow, "depth": pretrain_depth, "guess": pretrain_guess}
    if start is not None:
        check_choice(stage, ("autoencoder", "transformer"), "stage that goes on from a former base")
    stages |= {"autoencoder": pretrain_autoencoder, "transformer": pretrain_transformer}
    given = {name: value for name, value in {"clips": clips, "start": start}.items() if value is not None}
    stages[check_choice(stage, stages, "stage")](out, workers=workers, **given)
    typer.echo(f"{stage} in {out}")


@command
def train(
    method: str,
    preset: str = "mini",
    set: list[str] = [],  # noqa: B006
    model: Path | None = None,
    seed: int = 0,
    runs: Path = Path("runs"),
    log_with: str | None = None,
):
    """Train one model of the study outside the notebooks, in one or in several processes; continues where it stopped.

    Args:
        method: PSFT, one of other drops ("ambiguous PSFT", "energy score", "PSFT, noon", "PSFT, pairs"), or a reward
            of the preset, e.g. seg.
        preset: As of `pisa study`.
        set: As of `pisa study`.
        model: As of `pisa study`.
        seed: Of the run.
        runs: Folder in which `pisa study` finds the model.

    Several GPUs: accelerate launch --num_processes 4 -m pisa_kit.cli train PSFT --preset gpu --model downloads/...
    """
    from pisa_kit.core.checks import Seed, check
    from pisa_kit.core.devices import processes
    from pisa_kit.core.errors import check_choice
    from pisa_kit.study.run import STAGE_OF, open_run

    use_tracker(log_with)
    check(Seed, seed, "arguments", "seed")
    run = open_run(" ".join([preset, *set]), runs, str(model) if model else None)
    check_choice(method, ("PSFT", *STAGE_OF, *run.preset.oro.rewards), "method")
    with processes().main_process_first():  # clips and latents are made once
        run.prepare(method, seed)
    run.model(method, seed)
    if processes().is_main_process:
        typer.echo(f"{method}, seed {seed}, in {run.folder / 'models'}")


@command
def merge(adapter: Path, out: Path, path: Path | None = None):
    """Add an adapter to the weights it was trained on: a whole pipeline, which needs no adapter any more.

    Args:
        adapter: As of `pisa generate --lora`.
        out: Folder for the pipeline in diffusers' format.
        path: The model that the adapter was trained on. Default: the embedded one.
    """
    from pisa_kit.core.storage import atomic_folder
    from pisa_kit.models.adapters import load_adapter
    from pisa_kit.models.adapters import merge as merge_adapter
    from pisa_kit.models.embedded import BASE, load

    pipeline = load(path or BASE)
    load_adapter(pipeline, adapter)
    merge_adapter(pipeline.transformer)
    with atomic_folder(out) as temporary:
        pipeline.save_pretrained(temporary)
    typer.echo(f"merged in {out}")


@command
def push(
    model: Path,
    repository: str,
    scores: Path | None = None,
    videos: Path | None = None,
    base: str | None = None,
    public: bool = False,
    dry_run: bool = False,
):
    """Publish a tuned model or adapter with a card of how it was made, its settings, scores and videos.

    `pisa download owner/name` fetches it again.

    Args:
        model: runs/<preset>/models/<run>/adapter_N, or pipeline_N.
        repository: owner/name on the Hugging Face hub; created if missing.
        scores: What `pisa evaluate` wrote.
        videos: Folder of the videos that were scored.
        base: Of an adapter: the model it was trained on, a name of the zoo or owner/name.
        public: Of a new repository.
        dry_run: Say what would be uploaded, and upload nothing.
    """
    from pisa_kit.models.publish import push as upload
    from pisa_kit.models.publish import what_to_push

    files = what_to_push(model, repository, scores, videos, base)
    for name, content in files.items():
        typer.echo(f"{len(content) if isinstance(content, bytes) else content.stat().st_size:>12,}  {name}")
    if not dry_run:
        typer.echo(upload(files, repository, private=not public))
