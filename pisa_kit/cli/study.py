"""Commands that plan and run the study."""

from pathlib import Path

import typer

from pisa_kit.cli import command, use_tracker
from pisa_kit.core.errors import InputError


@command
def plan(preset: str = "mini", model: str | None = None, speed: float | None = None):
    """Say what a study will need before it starts: memory, time per step and hours, without computing anything.

    Args:
        preset: As of `pisa study`.
        model: Folder in diffusers' format, or wan2.2-ti2v-5b, which needs no download.
        speed: TFLOP/s of a large matmul on the machine to plan for. Default: measured here.

    Example: pisa plan --preset gpu --model wan2.2-ti2v-5b --speed 400
    """
    from pisa_kit.core.checks import Positive, check
    from pisa_kit.core.errors import check_choice
    from pisa_kit.study.plan import plan, report
    from pisa_kit.study.presets import PRESETS

    check(Positive | None, speed, "arguments", "speed")
    numbers = PRESETS[check_choice(preset, PRESETS, "preset")]
    if numbers.base is None and model is None:
        raise InputError(f"preset {preset}", "model", "is not given", "Name a folder, or --model wan2.2-ti2v-5b.")
    typer.echo("\n".join(report(plan(numbers, model, speed and speed * 1e12), elsewhere=speed is not None)))


@command
def study(
    preset: str = "mini",
    set: list[str] = [],  # noqa: B006
    runs: Path = Path("runs"),
    model: Path | None = None,
    bench: Path | None = None,
    train: list[Path] = [],  # noqa: B006
    share: float = 1.0,
    only: str | None = None,
    fresh: bool = False,
    log_with: str | None = None,
):
    """Run the notebooks in order, headless, into runs/<preset>/; call it again to continue after an interruption.

    Args:
        preset: smoke (for tests), mini (one seed), full (three, hours); gpu, paper (with --model).
        set: Change one of its numbers, e.g. psft.training.steps=200; may be repeated.
        runs: Folder for executed notebooks, data, figures and results.
        model: Wan 2.2 TI2V or LTX-Video in diffusers' format, instead of the embedded model.
        bench: Clips of `pisa prepare`, e.g. PisaBench's, that 01, 02 and 03 evaluate too.
        train: Learn from the paper's clips: a folder or zip in the layout psft (for PSFT) or oro (for rewards); may be
            repeated, `--train downloads/psft.zip --train downloads/oro.zip`.
        share: Of the paper's clips in training; the rest is simulated.
        only: Only notebooks whose name starts with this, e.g. "01".
        fresh: Start anew: forget finished notebooks, clips and videos.
    """
    from pisa_kit.study.paper_clips import stage_of
    from pisa_kit.study.runner import NotebookError, run_study
    from pisa_kit.viz.site import write_site

    use_tracker(log_with)
    set = [
        *set,
        *(f"{stage_of(path)}.source={path.resolve()}" for path in train),
        *[f"data.share={share}"] * bool(train),
    ]
    try:
        results = run_study(" ".join([preset, *set]), runs, only, fresh, lambda line: typer.echo(line), model, bench)
    except NotebookError as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"numbers in {results}, pages to read in {write_site(results.parent)}")
