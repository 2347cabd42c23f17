"""Commands that plan and run the study."""

import os
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from pisa_kit.cli import command, use_tracker

Unbroken = Annotated[str, Field(pattern=r"^\S+$")]  # changes of a preset are separated by blanks
AtMostOne = Annotated[list, Field(max_length=1)]


@command
def plan(
    preset: str = "mini",
    set: list[str] = [],  # noqa: B006
    model: str | None = None,
    speed: float | None = None,
):
    """Say what a study will need before it starts: memory, time per step and hours, without computing anything.

    Args:
        preset: As of `pisa study`.
        set: Change one of its numbers, e.g. psft.clips=100000; may be repeated.
        model: Folder in diffusers' format, or wan2.2-ti2v-5b, which needs no download.
        speed: TFLOP/s of a large matmul on the machine to plan for. Default: measured here.

    Example: pisa plan --preset gpu --model wan2.2-ti2v-5b --speed 400
    """
    from pisa_kit.core.checks import Positive, check
    from pisa_kit.study.plan import plan, report
    from pisa_kit.study.presets import get_preset

    check(Positive | None, speed, "arguments", "speed")
    numbers = get_preset(" ".join([preset, *set]), model)
    typer.echo("\n".join(report(plan(numbers, model, speed and speed * 1e12), elsewhere=speed is not None)))


@command
def study(
    preset: str = "mini",
    set: list[str] = [],  # noqa: B006
    runs: Path = Path("runs"),
    model: Path | None = None,
    bench: Path | None = None,
    train: list[Path] = [],  # noqa: B006
    share: float | None = None,
    only: str | None = None,
    fresh: bool = False,
    workers: int | None = None,
    log_with: str | None = None,
):
    """Run the notebooks in order, headless, into runs/<preset>/; call it again to continue after an interruption.

    Args:
        preset: smoke (for tests), mini (one seed), full (three, hours; also writes the clone's figures/); gpu,
            paper (with --model).
        set: Change one of its numbers, e.g. psft.training.steps=200; may be repeated.
        runs: Folder for executed notebooks, data, figures and results.
        model: Wan 2.2 TI2V or LTX-Video in diffusers' format, instead of the embedded model.
        bench: Clips of `pisa prepare`, e.g. PisaBench's, that 01, 02 and 03 evaluate too.
        train: Learn from the paper's clips: a folder or zip in the layout psft (for PSFT) or oro (for rewards), or one
            of each: `--train downloads/training_data/psft.zip --train downloads/training_data/oro.zip`.
        share: Of the paper's clips in training; the rest is simulated. Default: all are the paper's.
        only: Only notebooks whose name starts with this, e.g. "01".
        fresh: Start anew: delete the run's clips, trained models and videos, and forget finished notebooks.
        workers: Processes, each with one thread and models of its own; 2, or PISA_WORKERS.
    """
    from pisa_kit.core.checks import Few, check
    from pisa_kit.study.presets import get_preset

    if workers is not None:
        os.environ["PISA_WORKERS"] = str(check(Few, workers, "arguments", "workers"))
    for path in train:
        check(Unbroken, str(path.resolve()), "arguments", "train", "Choose a path without blanks.")
    if not train:
        check(None, share, "arguments", "share", "It needs --train.")
        get_preset(" ".join([preset, *set]), model, bench and str(bench))  # what is wrong with it is said at once
    from pisa_kit.study.runner import NotebookError, run_study

    use_tracker(log_with)
    if train:
        from pisa_kit.study.paper_clips import stage_of

        sources = {"psft": [], "oro": []}
        for path in train:
            sources[stage_of(path)].append(str(path.resolve()))
        for stage, paths in sources.items():
            check(AtMostOne, paths, "arguments", "train", f"Name one source for {stage}: {' or '.join(paths)}.")
        set = [*set, *(f"{stage}.source={path}" for stage, paths in sources.items() for path in paths)]
        set += [] if share is None else [f"data.share={share}"]
    try:
        results = run_study(" ".join([preset, *set]), runs, only, fresh, lambda line: typer.echo(line), model, bench)
    except NotebookError as error:
        typer.secho(f"{error}\npisa: what was finished is kept; a call without --fresh continues.", fg="red", err=True)
        raise typer.Exit(1) from error
    from pisa_kit.viz.site import write_site  # nbformat takes seconds to import

    typer.echo(f"numbers in {results}, pages to read in {write_site(results.parent)}")


@command
def pages(run: Path, out: Path, most: float = 15):
    """Write an executed study as pages to read and to publish: its notebooks as HTML in which the inspectors play.

    Args:
        run: Folder of the run, e.g. runs/mini; nothing in it is executed again.
        out: Folder to write.
        most: Megabytes that the pages may weigh together; more exits with 1.

    Example: pisa pages runs/mini site
    """
    from pisa_kit.viz.site import write_site

    index = write_site(run, out)
    sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(out.glob("*.html"))}
    typer.echo("\n".join(f"{size:6.2f} MB  {name}" for name, size in sizes.items()))
    typer.echo(f"{sum(sizes.values()):6.2f} MB  {index}")
    if sum(sizes.values()) > most:
        typer.secho(f"pisa: more than {most:g} MB", fg="red", err=True)
        raise typer.Exit(1)
