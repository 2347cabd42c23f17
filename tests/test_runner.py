"""The notebooks' runner, without the study: what fails, what is kept, what is published; and the worked exercises.

Apart from test_notebooks.py, which takes one process of the tests as long as everything else takes the other.
"""

import json
import shutil

import nbformat
import numpy as np
import pytest
from typer.testing import CliRunner

from pisa_kit.cli import app
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import locked
from pisa_kit.study import runner
from pisa_kit.study.run import open_run
from pisa_kit.study.runner import NotebookError, run_study


def test_the_worked_exercises_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PISA_WORKERS", "1")
    run = open_run("smoke", tmp_path)
    runner._execute(runner.NOTEBOOKS / "solutions" / "solutions.ipynb", run, {})
    assert (run.folder / "notebooks" / "solutions.ipynb").exists()


def test_a_failing_notebook_names_the_cell_and_keeps_what_was_done(tmp_path, monkeypatch):
    source = tmp_path / "notebooks"
    source.mkdir()
    for name, code in {
        "00_good": 'run.save_results("00_good", {"n": 1})',
        "01_bad": "values = {}\nvalues['missing']",
    }.items():
        notebook = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        )
        start = "from pisa_kit.study.run import open_run\nrun = open_run(PRESET, RUNS)"
        cells = [nbformat.v4.new_code_cell(text) for text in ('PRESET, RUNS = "", ""', start, code)]
        cells[0].metadata["tags"] = ["parameters"]
        notebook.cells = cells
        nbformat.write(notebook, source / f"{name}.ipynb")
    monkeypatch.setattr(runner, "NOTEBOOKS", source)
    with pytest.raises(NotebookError, match=r"01_bad.ipynb, cell 4 .*KeyError: 'missing'"):
        run_study("smoke", tmp_path / "runs", say=lambda line: None)
    told = CliRunner().invoke(app, ["study", "--preset", "smoke", "--runs", str(tmp_path / "runs")])
    assert told.exit_code == 1 and "KeyError: 'missing'" in told.stderr and "without --fresh continues" in told.stderr
    assert "00_good: done before" in told.stdout
    kept = json.loads((tmp_path / "runs" / "smoke" / "results.json").read_text())
    assert kept["00_good"]["results"] == {"n": 1} and "01_bad" not in kept
    with pytest.raises(InputError, match="'07' matches no notebook"):
        run_study("smoke", tmp_path / "runs", only="07")


def test_one_study_at_a_time_writes_a_run(tmp_path):
    with locked(tmp_path / "smoke"), pytest.raises(InputError, match="is being written by another process"):
        run_study("smoke", tmp_path, only="00")


def test_full_publishes_figures_and_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "FIGURES", tmp_path / "figures")
    run = open_run(runner.PUBLISHED, tmp_path / "runs")
    run.save_results("00_x", {"value": np.float32(2)})
    (run.folder / "figures").mkdir()
    shutil.copy(__file__, run.folder / "figures" / "00_x.png")
    runner._record(run, "00_x", "abc", 1.0)
    assert json.loads((tmp_path / "figures" / "results.json").read_text())["00_x"]["results"] == {"value": 2.0}
    assert (tmp_path / "figures" / "00_x.png").exists()


def test_another_model_does_not_replace_the_published_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "FIGURES", tmp_path / "figures")
    run = open_run(runner.PUBLISHED, tmp_path / "runs", model=tmp_path / "other")
    run.save_results("00_x", {"value": 1})
    runner._record(run, "00_x", "abc", 1.0)
    assert (run.folder / "results.json").exists() and not (tmp_path / "figures").exists()
