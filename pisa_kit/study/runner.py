"""The notebooks run in order with papermill; finished ones are kept."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path

from pisa_kit.core import artefacts, progress
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import WEIGHTS, atomic_path, locked, read_json, write_json
from pisa_kit.models.embedded import load
from pisa_kit.perception.prepare import read_prepared
from pisa_kit.study.presets import PRESETS
from pisa_kit.study.run import Run, open_run
from pisa_kit.training.rewards import load_rewards

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
REPORT = "06_report"  # the notebook that reads the results of all others
FIGURES = ROOT / "figures"  # what README shows
PUBLISHED = "full"  # the preset that writes it


class NotebookError(RuntimeError):
    """A notebook failed: names it, the cell and the error."""


def notebooks() -> list[Path]:
    """The study's notebooks in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def run_study(
    preset: str,
    runs="runs",
    only: str | None = None,
    fresh: bool = False,
    say: Callable[[str], None] = print,
    model: str | None = None,
    bench: str | None = None,
) -> Path:
    """Runs the notebooks in order into `run.open_run`'s folder and collects results.json; finished ones are kept.

    Args:
        preset: a name in `presets.PRESETS`.
        runs: folder for artefacts.
        only: run only notebooks whose name starts with this, e.g. "01".
        fresh: forget finished notebooks, simulated clips, trained models and videos, and start anew.
        say: receives the progress lines.
        model, bench: see `presets.get_preset`.

    Raises:
        InputError: unknown preset or no such notebook.
        NotebookError: a cell failed; notebooks done before it are kept and the next call continues.
    """
    model, bench = (str(Path(path).resolve()) if path else None for path in (model, bench))
    run = open_run(preset, Path(runs).resolve(), model, bench)
    if run.preset.base:
        load(run.preset.base, run.dtype())  # what cannot be used is said before anything runs
    if run.preset.bench:
        read_prepared(run.preset.bench)
    if run.preset.oro.perception == "real":
        load_rewards({name for weights in run.preset.oro.rewards.values() for name in weights}, "real")
    if not notebooks():
        remedy = "Clone the repository, and install it there with `pip install -e .`, or `make`."
        raise InputError(NOTEBOOKS, "notebooks", "are not there: they come with the repository alone", remedy)
    chosen = [path for path in notebooks() if path.stem.startswith(only or "")]
    if not chosen:
        known = ", ".join(path.stem for path in notebooks())
        raise InputError("arguments", "only", f"{only!r} matches no notebook", f"Choose the start of one of: {known}.")
    with locked(run.folder):
        return _run_chosen(run, chosen, fresh, say, {"MODEL": model, "BENCH": bench})


def _run_chosen(run: Run, chosen: list[Path], fresh: bool, say: Callable[[str], None], named: dict) -> Path:
    if fresh:
        for name in ("data", "models", "videos"):
            shutil.rmtree(run.folder / name, ignore_errors=True)
    for number, path in enumerate(chosen, start=1):
        where = f"[{number}/{len(chosen)}] {path.stem}"
        key = _fingerprint(path, run)
        if not fresh and _finished(run, path.stem) == key:
            say(f"{where}: done before")
            continue
        say(f"{where}: running ...")
        with progress.shown(lambda line: say(f"{where}: {line}")):  # noqa: B023
            seconds = _execute(path, run, named)
        _record(run, path.stem, key, seconds)
        say(f"{where}: {seconds:.0f} s")
    return run.folder / "results.json"


def _fingerprint(path: Path, run: Run) -> str:
    """Changes with the code of notebook and package (not with comments), the preset, weights and clips that are used;
    the report's with all results."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = [source.read_text(encoding="utf-8") for source in sorted(artefacts.PACKAGE.rglob("*.py"))]
    sources += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    preset = run.preset
    used = [WEIGHTS, *filter(None, (preset.base, preset.bench, preset.psft.source, preset.oro.source))]
    read = sorted((run.folder / "results").glob("*.json")) if path.stem == REPORT else []
    results = [result.read_text(encoding="utf-8") for result in read if result.stem != REPORT]
    facts = [list(map(artefacts.syntax, sources)), list(map(artefacts.files, used)), asdict(preset), results]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _finished(run: Run, notebook: str) -> str | None:
    path = run.folder / "results.json"
    return read_json(path).get(notebook, {}).get("fingerprint") if path.exists() else None


def _execute(path: Path, run: Run, named: dict[str, str | None]) -> float:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    output = run.folder / "notebooks" / path.name
    output.parent.mkdir(parents=True, exist_ok=True)
    parameters = {"PRESET": run.preset.name, "RUNS": str(run.folder.parent)}
    parameters |= {name: value for name, value in named.items() if value and name in _parameters(path)}
    options = {"cwd": str(path.parent), "progress_bar": False, "extra_arguments": ["--IPKernelApp.log_level=ERROR"]}
    start = time.monotonic()
    try:
        papermill.execute_notebook(path, output, parameters, **options)
    except PapermillExecutionError as error:
        last = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback)).strip().splitlines()[-12:]
        where = f"{path.name}, cell {error.cell_index + 1} of the executed copy {output}"
        raise NotebookError("\n".join([f"{where}: {error.ename}: {error.evalue}", *last])) from error
    return time.monotonic() - start


def _parameters(path: Path) -> str:
    """The source of the notebook's parameters cell."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "".join("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", []))


def _record(run: Run, notebook: str, fingerprint: str, seconds: float):
    """Adds the notebook's numbers to results.json; the published preset also publishes them and the figures."""
    path = run.folder / "results.json"
    collected = read_json(path) if path.exists() else {}
    entry = {"fingerprint": fingerprint, "date": date.today().isoformat(), "seconds": round(seconds, 1)}
    collected[notebook] = entry | {"results": run.results(notebook)}
    write_json(path, dict(sorted(collected.items())))
    if run.preset == PRESETS[PUBLISHED]:  # not with another model or other clips: README shows these figures
        for figure in sorted((run.folder / "figures").glob(f"{notebook[:2]}_*")):
            with atomic_path(FIGURES / figure.name) as temporary:
                shutil.copyfile(figure, temporary)
        write_json(FIGURES / "results.json", read_json(path))
