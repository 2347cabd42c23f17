"""Commands that make, read and score clips."""

from pathlib import Path

import typer

from pisa_kit.cli import command
from pisa_kit.core.errors import InputError


def _pair(text: str, field: str, kind=float) -> tuple:
    try:
        low, high = (kind(part) for part in text.split(","))
    except ValueError as error:
        remedy = "Give two numbers joined by a comma, e.g. 2.0,3.5."
        raise InputError("arguments", field, f"is {text!r}", remedy) from error
    return low, high


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
        workers: Processes.

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

    Example: pisa import drop.mp4 clips/ball --fps 120 --rotate 90 --start 118 --end 214 --point 28,74
    """
    from pisa_kit.perception.footage import import_video

    for name, value in {"fps": fps, "point": point}.items():
        if value is None:
            raise InputError("arguments", name, "is missing", f"Say it: --{name}.")
    options = {"rotate": rotate, "start": start, "end": end, "caption": caption, "track": track}
    clip = import_video(video, out, fps, _pair(point, "point"), **options)
    typer.echo(f"{len(clip)} frames at {fps:g} fps in {out}")
    if track:
        lost = clip.info["lost"]
        where = f", lost in {', '.join(map(str, lost))}" if lost else ""
        typer.echo(f"object found in {len(clip) - len(lost)} of {len(clip)} frames{where}")


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
    """
    from pisa_kit.perception.prepare import SAM2, Settings, lines
    from pisa_kit.perception.prepare import prepare as run

    found = run(source, out, Settings(size, fps, frames, crop, tracker, weights or SAM2), device)
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
    tracker: str = "background",
    allow_failures: bool = False,
    workers: int = 2,
    cluster: str | None = None,
):
    """Track the dropped object in finished videos and score them: `scored n of N`, with every missing clip by name.

    Args:
        data: Clips made ready by `pisa prepare`.
        videos: One mp4, gif, npz or frame folder per clip, named like it.
        out: Scores, a row per clip.
        fps: Overrides the videos' own rate; frame folders need it.
        tracker: background (any size), or judge (64-pixel videos).
        allow_failures: Exit with 0 although clips lack or failed.
        workers: Processes of the background tracker.
    """
    from pisa_kit.core.parallel import on_cluster
    from pisa_kit.core.storage import atomic_path
    from pisa_kit.metrics.evaluation import evaluate_videos
    from pisa_kit.models.generation import read_videos
    from pisa_kit.perception.prepare import read_prepared

    truths = read_prepared(data)
    found, failures = read_videos(videos, truths, fps)
    lacking = {name for name, _ in failures}
    with on_cluster(cluster):
        evaluation = evaluate_videos([one for one in truths if one.name not in lacking], found, workers, tracker)
    with atomic_path(out) as temporary:
        evaluation.table.to_csv(temporary, index=False)
    evaluation.failures.extend(failures)
    _say(evaluation, allow_failures)


def _say(report, allow_failures: bool):
    """Prints a report; exits with 1 if something failed."""
    typer.echo("\n".join(report.lines()))
    if report.failures and not (allow_failures and report.scored):
        raise typer.Exit(1)
