"""The `pisa` command: each function in this room is one, its docstring is its help.

May import from everything.
"""

import inspect
import os
import re
import sys
from collections.abc import Callable
from functools import partial
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
STOPPED = 130  # what typer exits with after Ctrl-C
CLUSTER = "dask://HOST:PORT (workers with --nthreads 1), ray://HOST:PORT or ray, instead of --workers."
LOG_WITH = "Experiment tracker: tensorboard, wandb, mlflow ..."


def command(function: Callable) -> Callable:
    """Makes a function a command: what has a default is an option, help comes from the docstring's "Args"."""
    text, _, described = inspect.getdoc(function).partition("\nArgs:\n")
    described, _, example = described.partition("\n\n")
    helps = {
        name: " ".join(words.split())
        for name, words in re.findall(r"^    (\w+): ((?:.+\n?(?!    \w+:))+)", described, re.M)
    }
    helps |= {"cluster": CLUSTER, "log_with": LOG_WITH}
    parameters = []
    for one in inspect.signature(function).parameters.values():
        required = one.default is inspect.Parameter.empty
        names = ["-o", "--out"] if one.name == "out" and not required else []
        extra = {"envvar": "PISA_LOG_WITH"} if one.name == "log_with" else {}
        kind = partial(typer.Argument) if required else partial(typer.Option, *names, **extra)
        annotation = Annotated[one.annotation, kind(help=helps.get(one.name, ""))]
        parameters.append(one.replace(annotation=annotation))
    function.__signature__ = inspect.Signature(parameters)
    function.__doc__ = "\n\n".join(filter(None, (text, example)))
    app.command(name=function.__name__.rstrip("_").replace("_", "-"))(function)
    return function


def use_tracker(names: str | None):
    """Hands the choice on to notebooks and workers."""
    if names is not None:
        os.environ["PISA_LOG_WITH"] = names


def main():
    """Runs the command; bad input and killed workers print one line and exit with 2."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    from pisa_kit.sim.mujoco_model import RenderError

    try:
        app()
    except (InputError, RenderError) as error:
        typer.secho(f"pisa: {error}", fg="red", err=True)
        sys.exit(2)
    except OSError as error:  # what no boundary inside has put into words
        where = error.filename or "the disk"
        typer.secho(f"pisa: {where}: file: cannot be used ({error.strerror or error}). Check it.", fg="red", err=True)
        sys.exit(2)
    except SystemExit as left:
        if left.code == STOPPED:
            typer.secho("pisa: stopped. Call the command again to continue.", fg="red", err=True)
        raise
    except TerminatedWorkerError:
        remedy = "Call the command again: what was finished is kept. If memory ran out, use fewer --workers."
        typer.secho(f"pisa: a worker process was killed. {remedy}", fg="red", err=True)
        sys.exit(2)


from pisa_kit.cli import data, models, study  # noqa: E402, F401  they register their commands
