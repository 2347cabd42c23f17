"""The `pisa` command."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pisa_kit.core.errors import InputError

app = typer.Typer(
    help="Study kit for the PISA experiments: can post-training teach a video diffusion model how things fall?\n\n"
    "Start with `pisa study --preset mini`, then open notebooks/ in JupyterLab.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Cluster = Annotated[
    str | None,
    typer.Option(help="dask://HOST:PORT (workers with --nthreads 1), ray://HOST:PORT or ray, instead of --workers."),
]
LogWith = Annotated[
    str | None,
    typer.Option(envvar="PISA_LOG_WITH", help="Experiment tracker: tensorboard, wandb, mlflow ..."),
]


def _pair(text: str, field: str, kind=float) -> tuple:
    try:
        low, high = (kind(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            "arguments", field, f"is {text!r}", "Give two numbers joined by a comma, e.g. 2.0,3.5."
        ) from error
    return low, high


def _log_with(names: str | None):
    """Hands the choice on to notebooks and workers."""
    if names is not None:
        os.environ["PISA_LOG_WITH"] = names


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write; an interrupted call continues where it stopped.")],
    count: Annotated[int, typer.Option(help="Number of clips.")] = 100,
    seed: Annotated[int, typer.Option(help="Scene seed of the first clip; clip i has seed + i.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the picture, pixels.")] = 64,
    frames: Annotated[int, typer.Option(help="Frames per clip.")] = 17,
    fps: Annotated[float, typer.Option(help="Frames per second.")] = 16,
    layout: Annotated[str, typer.Option(help="npz (one file with everything), or PisaBench's sim, psft, oro.")] = "npz",
    objects: Annotated[str, typer.Option(help="Object families: seen or unseen.")] = "seen",
    backgrounds: Annotated[str, typer.Option(help="Floor and wall families: seen or unseen.")] = "seen",
    distance: Annotated[str, typer.Option(help="Range of the distance from the camera, metres.")] = "2.0,3.5",
    height: Annotated[str, typer.Option(help="Range of the drop height, metres.")] = "0.5,1.25",
    others: Annotated[str, typer.Option(help="Range of the number of objects underneath or beside.")] = "0,3",
    move_camera: Annotated[
        bool, typer.Option(help="Move back until the drop is in view instead of redrawing.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    cluster: Cluster = None,
):
    """Write a dataset of simulated drops with exact masks, depth, flow, poses and contact times.

    Example: pisa simulate data/train --count 1000 --layout oro --size 256 --frames 32
    """
    from pisa_kit.core.parallel import on_cluster
    from pisa_kit.sim.datasets import Recipe, write_dataset
    from pisa_kit.sim.settings import Ranges, Video

    ranges = Ranges(
        distance=_pair(distance, "distance"),
        height=_pair(height, "height"),
        others=_pair(others, "others", int),
        move_camera=move_camera,
    )
    recipe = Recipe(count, seed, objects, backgrounds, layout, Video(size, frames, fps), ranges)
    with on_cluster(cluster):
        typer.echo(f"{count} clips in {write_dataset(out, recipe, workers)}")


@app.command(name="import")
def import_(
    video: Annotated[Path, typer.Argument(help="mp4, mov or gif.")],
    out: Annotated[Path, typer.Argument(help="Clip folder to write, in PisaBench's real layout.")],
    fps: Annotated[float, typer.Option(help="True recording rate (a 120 fps phone clip may play at 30).")],
    point: Annotated[str, typer.Option(help="x,y of the object in the first kept frame, pixels, after rotation.")],
    rotate: Annotated[int | None, typer.Option(help="Clockwise: 0, 90, 180 or 270. Default: the file's tag.")] = None,
    start: Annotated[int, typer.Option(help="First frame to keep: the release.")] = 0,
    end: Annotated[int | None, typer.Option(help="Frame to stop before.")] = None,
    caption: Annotated[str, typer.Option(help='Prompt, e.g. "A red ball falls."')] = "An object falls.",
    track: Annotated[bool, typer.Option(help="Also write masks: the object tracked against the background.")] = True,
):
    """Turn a phone video of a drop into a clip in PisaBench's real layout.

    Example: pisa import drop.mp4 clips/ball --fps 120 --rotate 90 --start 118 --end 214 --point 28,74
    """
    from pisa_kit.perception.footage import import_video

    options = {"rotate": rotate, "start": start, "end": end, "caption": caption, "track": track}
    clip = import_video(video, out, fps, _pair(point, "point"), **options)
    typer.echo(f"{len(clip)} frames at {fps:g} fps in {out}")
    if track:
        lost = clip.info["lost"]
        where = f", lost in {', '.join(map(str, lost))}" if lost else ""
        typer.echo(f"object found in {len(clip) - len(lost)} of {len(clip)} frames{where}")


@app.command()
def score(
    pairs: Annotated[
        Path, typer.Argument(help="jsonl in the released code's format: gt_mask, gt_fps, pd_mask, pd_fps.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Scores, one JSON line per pair.")] = Path("scores.jsonl"),
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    allow_failures: Annotated[bool, typer.Option(help="Exit with 0 although pairs failed; the count stays.")] = False,
    cluster: Cluster = None,
):
    """Score mask pairs: L2, Chamfer distance and IoU as released and as corrected, with coverage.

    Prints `scored n of N` with means and 95 % intervals, and names every pair that failed.
    """
    from pisa_kit.core.parallel import on_cluster
    from pisa_kit.metrics.scoring import score_file

    with on_cluster(cluster):
        report = score_file(pairs, out, workers)
    typer.echo("\n".join(report.lines()))
    if report.failures and not (allow_failures and report.scored):
        raise typer.Exit(1)


@app.command()
def download(
    name: Annotated[
        str, typer.Argument(help="bench, psft, oro, checkpoints, sam2, depth-anything-v2, a zoo model, owner/name.")
    ],
    out: Annotated[Path, typer.Option(help="Folder the files go to.")] = Path("downloads"),
):
    """Fetch PisaBench, the paper's training clips or checkpoints, or a model's weights from the Hugging Face hub.

    Call it again to continue. Checksums are compared with the hub's. Without a connection it says what to get by hand.
    """
    from pisa_kit.models.hub import download

    typer.echo("\n".join(map(str, download(name, out))))


@app.command()
def push(
    pipeline: Annotated[
        Path, typer.Argument(help="Folder of a tuned pipeline, runs/<preset>/models/<run>/pipeline_N.")
    ],
    repository: Annotated[str, typer.Argument(help="owner/name on the Hugging Face hub; created if missing.")],
    public: Annotated[bool, typer.Option(help="Of a new repository.")] = False,
):
    """Publish a tuned model in diffusers' format, with a model card of how it was made.

    `pisa download owner/name` fetches it again.
    """
    from pisa_kit.models.hub import push

    typer.echo(push(pipeline, repository, private=not public))


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder or zip of clips, e.g. real.zip, sim.zip or sim.zip/unseen.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; an interrupted call continues where it stopped.")],
    size: Annotated[int, typer.Option(help="Side of the square frames, pixels.")] = 256,
    fps: Annotated[float | None, typer.Option(help="Frames per second. Default: each clip's own.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames per clip. Default: all.")] = None,
    crop: Annotated[bool, typer.Option(help="Cut out the centred square instead of squeezing the frame.")] = False,
    tracker: Annotated[
        str, typer.Option(help="For clips without masks: background (no download), or sam2 as in the paper.")
    ] = "background",
    weights: Annotated[str | None, typer.Option(help="SAM 2's weights: a folder, or a name on the hub.")] = None,
    device: Annotated[str, typer.Option(help="Of SAM 2: cpu or cuda.")] = "cpu",
):
    """Make clips ready for generation and scoring: square, with masks; prints `prepared n of N` and every failure."""
    from pisa_kit.perception.prepare import Settings, lines
    from pisa_kit.perception.prepare import prepare as run
    from pisa_kit.perception.trackers import SAM2

    found = run(source, out, Settings(size, fps, frames, crop, tracker, weights or SAM2), device)
    typer.echo("\n".join(lines(found)))
    if any("error" in entry for entry in found["clips"].values()):
        raise typer.Exit(1)


@app.command()
def generate(
    model: Annotated[str, typer.Argument(help="embedded, or a model of the zoo, e.g. ltx-video.")],
    data: Annotated[Path, typer.Argument(help="Clips made ready by `pisa prepare`.")],
    out: Annotated[Path, typer.Argument(help="Folder for the videos; an interrupted call continues.")],
    path: Annotated[
        Path | None, typer.Option(help="Weights in diffusers' format. Default: what ships, or the hub.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Sampling steps. Default: the model's own.")] = None,
    device: Annotated[str, typer.Option(help="Of a zoo model: cpu, cuda or cuda:1.")] = "cpu",
    offload: Annotated[bool, typer.Option(help="Of a zoo model: keep only the part that works on the GPU.")] = False,
):
    """Film every clip from its first frame and caption with an image-to-video model; at its size, length and rate."""
    from pisa_kit.core import artefacts
    from pisa_kit.core.errors import check_choice
    from pisa_kit.models.embedded import BASE, load
    from pisa_kit.models.generation import Protocol
    from pisa_kit.models.generation import generate as generate_videos
    from pisa_kit.models.zoo import ZOO, open_model
    from pisa_kit.perception.prepare import read_prepared

    check_choice(model, ("embedded", *ZOO), "model")
    truths = read_prepared(data)
    shapes = {(truth.frames.shape[1], len(truth), truth.fps) for truth in truths}
    if len(shapes) > 1:
        problem = f"differ from clip to clip in size, frames or fps ({len(shapes)} kinds)"
        raise InputError(data, "clips", problem, "Prepare them with --frames and --fps.")
    if steps is not None and steps < 1:
        raise InputError("arguments", "steps", f"is {steps}", "Give at least 1.")
    shape = dict(zip(("size", "frames", "fps"), shapes.pop(), strict=True))
    if model == "embedded":
        pipeline = load(path or BASE)
        generate_videos(pipeline, Protocol(model, artefacts.model(pipeline), steps or 5, **shape), truths, seed, out)
    else:
        opened = open_model(model, path, device, offload)
        protocol = Protocol(model, "", steps or opened.spec.steps, opened.spec.guidance or 1.0, **shape)
        generate_videos(opened, protocol, truths, seed, out, batch=1)
    typer.echo(f"{len(truths)} videos in {out}")


@app.command()
def evaluate(
    data: Annotated[Path, typer.Argument(help="Clips made ready by `pisa prepare`.")],
    videos: Annotated[Path, typer.Argument(help="One mp4, gif, npz or frame folder per clip, named like it.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Scores, a row per clip.")] = Path("scores.csv"),
    fps: Annotated[float | None, typer.Option(help="Overrides the videos' own rate; frame folders need it.")] = None,
    tracker: Annotated[str, typer.Option(help="background (any size), or judge (64-pixel videos).")] = "background",
    allow_failures: Annotated[bool, typer.Option(help="Exit with 0 although clips lack or failed.")] = False,
    workers: Annotated[int, typer.Option(help="Processes of the background tracker.")] = 2,
    cluster: Cluster = None,
):
    """Track the dropped object in finished videos and score them: `scored n of N`, with every missing clip by name."""
    from pisa_kit.core.parallel import on_cluster
    from pisa_kit.core.storage import atomic_path
    from pisa_kit.metrics.evaluation import evaluate_videos
    from pisa_kit.metrics.scoring import Report
    from pisa_kit.models.generation import read_videos
    from pisa_kit.perception.prepare import read_prepared

    truths = read_prepared(data)
    found, failures = read_videos(videos, truths, fps)
    lacking = {name for name, _ in failures}
    with on_cluster(cluster):
        verdict = evaluate_videos([truth for truth in truths if truth.name not in lacking], found, workers, tracker)
    report = Report(verdict.table, verdict.failures + failures)
    with atomic_path(out) as temporary:
        verdict.table.to_csv(temporary, index=False)
    typer.echo("\n".join(report.lines()))
    if report.failures and not (allow_failures and report.scored):
        raise typer.Exit(1)


@app.command()
def pretrain(
    stage: Annotated[
        str, typer.Argument(help="autoencoder, transformer, judge or reward (mask trackers), flow, depth or guess.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for corpora, logs, checkpoints and weights.")] = Path(
        "runs/pretrain"
    ),
    clips: Annotated[
        int | None, typer.Option(help="Clips in the corpus. Default: 4000, for flow and depth 1000.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that simulate.")] = 2,
    log_with: LogWith = None,
):
    """Rebuild a part of the embedded model from nothing; call it again to continue after an interruption.

    All others but guess need the autoencoder first. Several training processes, also on one CPU:
    torchrun --nproc_per_node 2 -m pisa_kit.cli pretrain autoencoder
    """
    from pisa_kit.core.errors import check_choice
    from pisa_kit.training.pretrain import pretrain_autoencoder, pretrain_transformer
    from pisa_kit.training.pretrain_perception import (
        TRACKERS,
        pretrain_depth,
        pretrain_flow,
        pretrain_guess,
        pretrain_tracker,
    )

    _log_with(log_with)
    stages = {"autoencoder": pretrain_autoencoder, "transformer": pretrain_transformer}
    stages |= {name: partial(pretrain_tracker, name=name) for name in TRACKERS}
    stages |= {"flow": pretrain_flow, "depth": pretrain_depth, "guess": pretrain_guess}
    given = {} if clips is None else {"clips": clips}
    stages[check_choice(stage, stages, "stage")](out, workers=workers, **given)
    typer.echo(f"{stage} in {out}")


@app.command()
def train(
    method: Annotated[str, typer.Argument(help="PSFT, ambiguous PSFT, or a reward of the preset, e.g. seg.")],
    preset: Annotated[str, typer.Option(help="As of `pisa study`.")] = "mini",
    model: Annotated[Path | None, typer.Option(help="As of `pisa study`.")] = None,
    seed: Annotated[int, typer.Option(help="Of the run.")] = 0,
    runs: Annotated[Path, typer.Option(help="Folder in which `pisa study` finds the model.")] = Path("runs"),
    log_with: LogWith = None,
):
    """Train one model of the study outside the notebooks, in one or in several processes; continues where it stopped.

    Several GPUs: accelerate launch --num_processes 4 -m pisa_kit.cli train PSFT --preset gpu --model downloads/...
    """
    from pisa_kit.core.devices import processes
    from pisa_kit.core.errors import check_choice
    from pisa_kit.study.run import open_run

    _log_with(log_with)
    run = open_run(preset, runs, str(model) if model else None)
    check_choice(method, ("PSFT", "ambiguous PSFT", *run.preset.rewards), "method")
    with processes().main_process_first():  # clips and latents are made once
        run.prepare(method, seed)
    run.model(method, seed)
    if processes().is_main_process:
        typer.echo(f"{method}, seed {seed}, in {run.folder / 'models'}")


@app.command()
def plan(
    preset: Annotated[str, typer.Option(help="As of `pisa study`.")] = "mini",
    model: Annotated[
        str | None, typer.Option(help="Folder in diffusers' format, or wan2.2-ti2v-5b, which needs no download.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(help="TFLOP/s of a large matmul on the machine to plan for. Default: measured here.")
    ] = None,
):
    """Say what a study will need before it starts: memory, time per step and hours, without computing anything.

    Example: pisa plan --preset gpu --model wan2.2-ti2v-5b --speed 400
    """
    from pisa_kit.core.errors import check_choice
    from pisa_kit.study.plan import plan, report
    from pisa_kit.study.presets import PRESETS

    numbers = PRESETS[check_choice(preset, PRESETS, "preset")]
    if numbers.base is None and model is None:
        raise InputError(f"preset {preset}", "model", "is not given", "Name a folder, or --model wan2.2-ti2v-5b.")
    typer.echo("\n".join(report(plan(numbers, model, speed and speed * 1e12), elsewhere=speed is not None)))


@app.command()
def study(
    preset: Annotated[
        str,
        typer.Option(help="smoke (for tests), mini (one seed), full (three, hours); gpu, paper (with --model)."),
    ] = "mini",
    runs: Annotated[Path, typer.Option(help="Folder for executed notebooks, data, figures and results.")] = Path(
        "runs"
    ),
    model: Annotated[
        Path | None, typer.Option(help="Wan 2.2 TI2V or LTX-Video in diffusers' format, instead of the embedded model.")
    ] = None,
    bench: Annotated[Path | None, typer.Option(help="Clips of `pisa prepare` that notebook 01 evaluates too.")] = None,
    only: Annotated[str | None, typer.Option(help='Only notebooks whose name starts with this, e.g. "01".')] = None,
    fresh: Annotated[bool, typer.Option(help="Start anew: forget finished notebooks, clips and videos.")] = False,
    log_with: LogWith = None,
):
    """Run the notebooks in order, headless, into runs/<preset>/; call it again to continue after an interruption."""
    from pisa_kit.study.runner import NotebookError, run_study

    _log_with(log_with)
    try:
        results = run_study(preset, runs, only, fresh, lambda line: typer.echo(line), model, bench)
    except NotebookError as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"numbers in {results}, figures and executed notebooks beside it")


def main():
    """Runs the command; bad input and killed workers print one line and exit with 2."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    from pisa_kit.sim.mujoco_model import RenderError

    try:
        app()
    except (InputError, RenderError) as error:
        typer.secho(f"pisa: {error}", fg="red", err=True)
        sys.exit(2)
    except TerminatedWorkerError:
        remedy = "Call the command again: what was finished is kept. If memory ran out, use fewer --workers."
        typer.secho(f"pisa: a worker process was killed. {remedy}", fg="red", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
