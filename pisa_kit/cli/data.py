"""Commands that make, read and score clips."""

from functools import partial
from pathlib import Path

import typer

from pisa_kit.cli import command
from pisa_kit.core.checks import Few
from pisa_kit.core.checks import check as check_value
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import parsed


def _numbers(text: str, field: str, count: int = 2, kind=float) -> tuple:
    remedy = f"Give {count} numbers joined by commas, e.g. {','.join(['2.0', '3.5', '2.5', '4'][:count])}."
    with parsed("arguments", field, f"is {text!r}", remedy):
        found = tuple(kind(part) for part in text.split(","))
        if len(found) != count:
            raise ValueError(f"{len(found)} numbers")
        return found


@command
def simulate(
    out: Path,
    count: int = 100,
    seed: int = 0,
    size: int = 64,
    frames: int = 17,
    fps: float = 16,
    layout: str = "npz",
    objects: str = "seen",
    backgrounds: str = "seen",
    distance: str = "2.0,3.5",
    height: str = "0.5,1.25",
    others: str = "0,3",
    move_camera: bool = False,
    verify: bool = False,
    workers: int = 2,
    cluster: str | None = None,
):
    """Write a dataset of simulated drops with exact masks, depth, flow, poses and contact times.

    Args:
        out: Folder to write; an interrupted call continues where it stopped.
        count: Number of clips.
        seed: Scene seed of the first clip; clip i has seed + i.
        size: Side of the picture, pixels.
        frames: Frames per clip.
        fps: Frames per second.
        layout: npz (one file with everything), or PisaBench's sim, psft, oro.
        objects: Object families: seen or unseen.
        backgrounds: Floor and wall families: seen or unseen.
        distance: Range of the distance from the camera, metres.
        height: Range of the drop height, metres.
        others: Range of the number of objects underneath or beside.
        move_camera: Move back until the drop is in view instead of redrawing.
        verify: Compare the hash of every clip that is there, not its size alone; damaged ones are made again.
        workers: Processes.

    Example: pisa simulate data/train --count 1000 --layout oro --size 256 --frames 32
    """
    from pisa_kit.core.parallel import on_cluster
    from pisa_kit.sim.datasets import Recipe, write_dataset
    from pisa_kit.sim.settings import Ranges, Video

    ranges = Ranges(
        distance=_numbers(distance, "distance"),
        height=_numbers(height, "height"),
        others=_numbers(others, "others", kind=int),
        move_camera=move_camera,
    )
    recipe = Recipe(count, seed, objects, backgrounds, layout, Video(size, frames, fps), ranges)
    needed, hours = recipe.cost[0] / 1e9, recipe.cost[1] / 3600 / max(workers, 1)
    if needed > 1 or hours > 0.2:
        typer.echo(f"about {needed:,.1f} GB, {hours:,.1f} hours", err=True)
    with on_cluster(cluster):
        typer.echo(f"{count} clips in {write_dataset(out, recipe, workers, verify)}")


@command
def import_(
    video: Path,
    out: Path,
    fps: float = None,
    point: str = None,
    rotate: int | None = None,
    start: int = 0,
    end: int | None = None,
    caption: str = "An object falls.",
    track: bool = True,
    longest: int | None = None,
    fix: list[str] = [],  # noqa: B006
    ends: str | None = None,
    metres: float = 1.0,
    tilted: bool = False,
):
    """Turn a phone video of a drop into a clip in PisaBench's real layout.

    Args:
        video: mp4, mov or gif.
        out: Clip folder to write, in PisaBench's real layout.
        fps: True recording rate (a 120 fps phone clip may play at 30).
        point: x,y of the object in the first kept frame, pixels, after rotation.
        rotate: Clockwise: 0, 90, 180 or 270. Default: the file's tag.
        start: First frame to keep: the release.
        end: Frame to stop before.
        caption: Prompt, e.g. "A red ball falls."
        track: Also write masks: the object tracked against the background.
        longest: Shrink it to this longest side, pixels; what is large is tracked faster so.
        fix: frame,x,y (from the first kept frame): where a lost object is; may be repeated.
        ends: x,y,x,y of two points whose distance is known, in the plane of the fall: prints g.
        metres: Their distance.
        tilted: The camera looks up or down; then these points must lie along the fall.

    Example: pisa import drop.mp4 clips/ball --fps 120 --rotate 90 --start 118 --end 214 --point 28,74
    """
    import numpy as np

    from pisa_kit.metrics.fall_time import track as centres
    from pisa_kit.metrics.gravity import fit_scaled
    from pisa_kit.perception.footage import import_video

    for name, value in {"fps": fps, "point": point}.items():
        if value is None:
            raise InputError("arguments", name, "is missing", f"Say it: --{name}.")
    check_value(None, None if track else ends, "arguments", "ends", "It needs the track: leave out --no-track.")
    options = {"rotate": rotate, "start": start, "end": end, "caption": caption, "track": track}
    fixes = {int(frame): place for frame, *place in (_numbers(one, "fix", 3) for one in fix)}
    clip = import_video(video, out, fps, _numbers(point, "point"), **options, fixes=fixes, longest=longest)
    typer.echo(f"{len(clip)} frames at {fps:g} fps in {out}")
    if track:
        lost = clip.info["lost"]
        where = f", lost in {', '.join(map(str, lost))}" if lost else ""
        typer.echo(f"object found in {len(clip) - len(lost)} of {len(clip)} frames{where}")
    if ends:
        marks = np.reshape(_numbers(ends, "ends", 4), (2, 2)) * clip.info["source"].get("scale", 1)
        fall = fit_scaled(centres(clip.dropped)[:, 1], fps, marks, metres, tilted)
        typer.echo("g = {:.2f} m/s² [{:.2f}, {:.2f}]".format(fall.gravity, *fall.gravity_interval))


@command
def download(name: str, out: Path = Path("downloads")):
    """Fetch PisaBench, the paper's training clips or checkpoints, or a model's weights from the Hugging Face hub.

    Call it again to continue. Checksums are compared with the hub's. Without a connection it says what to get by hand.

    Args:
        name: bench, psft, oro, checkpoints, sam2, depth-anything-v2, a zoo model, owner/name.
        out: Folder the files go to.
    """
    from pisa_kit.models.hub import download

    typer.echo("\n".join(map(str, download(name, out))))


@command
def prepare(
    source: Path,
    out: Path,
    size: int = 256,
    fps: float | None = None,
    frames: int | None = None,
    crop: bool = False,
    tracker: str = "background",
    weights: str | None = None,
    device: str = "cpu",
    verify: bool = False,
):
    """Make clips ready for generation and scoring: square, with masks; prints `prepared n of N` and every failure.

    Args:
        source: Folder or zip of clips, e.g. real.zip, sim.zip or sim.zip/unseen.
        out: Folder to write; an interrupted call continues where it stopped.
        size: Side of the square frames, pixels.
        fps: Frames per second. Default: each clip's own.
        frames: Frames per clip. Default: all.
        crop: Cut out the centred square instead of squeezing the frame.
        tracker: For clips without masks: background (no download), or sam2 as in the paper.
        weights: SAM 2's weights: a folder, or a name on the hub.
        device: Of SAM 2: cpu or cuda.
        verify: Compare the hash of every clip that is there, not its size alone; damaged ones are made again.
    """
    from pisa_kit.perception.prepare import SAM2, Settings, lines
    from pisa_kit.perception.prepare import prepare as run

    found = run(source, out, Settings(size, fps, frames, crop, tracker, weights or SAM2), device, verify)
    typer.echo("\n".join(lines(found)))
    if any("error" in entry for entry in found["clips"].values()):
        raise typer.Exit(1)


@command
def score(
    pairs: Path,
    out: Path = Path("scores.jsonl"),
    workers: int = 2,
    allow_failures: bool = False,
    cluster: str | None = None,
):
    """Score mask pairs: L2, Chamfer distance and IoU as released and as corrected, with coverage.

    Prints `scored n of N` with means and 95 % intervals, and names every pair that failed.

    Args:
        pairs: jsonl in the released code's format: gt_mask, gt_fps, pd_mask, pd_fps.
        out: Scores, one JSON line per pair.
        workers: Processes.
        allow_failures: Exit with 0 although pairs failed; the count stays.
    """
    from pisa_kit.core.parallel import on_cluster
    from pisa_kit.metrics.scoring import score_file

    with on_cluster(cluster):
        report = score_file(pairs, out, workers)
    _say(report, allow_failures)


@command
def evaluate(
    data: Path,
    videos: Path,
    out: Path = Path("scores.csv"),
    fps: float | None = None,
    model: str | None = None,
    path: Path | None = None,
    lora: Path | None = None,
    tracker: str = "background",
    weights: str | None = None,
    device: str = "cpu",
    seeds: int = 1,
    submit: Path | None = None,
    check: Path | None = None,
    allow_failures: bool = False,
    workers: int = 2,
    cluster: str | None = None,
):
    """Track the dropped object in finished videos and score them: `scored n of N`, with every missing clip by name.

    Args:
        data: Clips made ready by `pisa prepare`.
        videos: One mp4, gif, npz or frame folder per clip, named like it; of several seeds in seed0, seed1 ...
        out: Scores, a row per video.
        fps: Overrides the videos' own rate; frame folders need it.
        model: Film the videos first, as `pisa generate` does: embedded, or a model of the zoo.
        path: Of the model: weights in diffusers' format.
        lora: Of the model: adapter in diffusers' format; it then films at the clips' size, length and rate.
        tracker: background (any size), judge (64-pixel videos), or sam2 as in the paper.
        weights: SAM 2's weights: a folder, or a name on the hub.
        device: Of SAM 2 and of a zoo model: cpu or cuda.
        seeds: How many; more than one: mean and std over seeds beside intervals over clips.
        submit: Also write a submission's folder: a card, and each video beside its score. Whole, or refused.
        check: A submission's card.json: compare it with the clips and videos, instead of writing scores.
        allow_failures: Exit with 0 although clips lack or failed.
        workers: Processes of the background tracker.

    Example: pisa evaluate data/sim videos --seeds 4 --submit submission
    """
    from pisa_kit.core.parallel import on_cluster
    from pisa_kit.core.storage import atomic_path
    from pisa_kit.perception.trackers import SAM2, load_sam2
    from pisa_kit.study.seeds import evaluate_folder, evaluate_seeds
    from pisa_kit.study.submission import check_before, check_submission, write_submission

    one_by_one = check_value(Few, seeds, "arguments", "seeds") > 1 or submit is not None
    if check is not None:
        check_value(None, model or lora, "arguments", "model, lora", "A submission's own videos are checked.")
    if model or lora:
        from pisa_kit.cli.models import generate

        for seed in range(seeds):
            folder = videos / f"seed{seed}" if one_by_one else videos
            generate(model or "embedded", data, folder, path, lora, seed, device=device)
    if submit is not None:
        check_before(submit, videos, seeds)
    look = load_sam2(weights or SAM2, device) if tracker == "sam2" else tracker
    with on_cluster(cluster):
        if check is not None:
            wrong = check_submission(check, data, videos, workers, look if tracker == "sam2" else None)
            typer.echo("\n".join(f"refused: {line}" for line in wrong) or f"{check} is right: its videos, its numbers")
            raise typer.Exit(bool(wrong))
        run = partial(evaluate_seeds, data, videos, seeds) if one_by_one else partial(evaluate_folder, data, videos)
        report = run(fps, workers, look)
    with atomic_path(out) as temporary:
        report.table.to_csv(temporary, index=False)
    if submit is not None:
        typer.echo(f"card in {write_submission(submit, report, data, videos, tracker)}")
    _say(report, allow_failures)


def _say(report, allow_failures: bool):
    """Prints a report; exits with 1 if something failed."""
    typer.echo("\n".join(report.lines()))
    if report.failures and not (allow_failures and report.scored):
        raise typer.Exit(1)
