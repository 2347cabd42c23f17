"""Every notebook runs headless with the smoke preset, leaves its numbers and figures, and is committed clean."""

import importlib.util
import json
import pkgutil
import re
import subprocess
from functools import reduce
from importlib import import_module

import nbformat
import pytest

import pisa_kit
from pisa_kit.clips.formats import write_clip
from pisa_kit.core.storage import DATA
from pisa_kit.perception.footage import import_video
from pisa_kit.perception.prepare import Settings, prepare
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.study import runner
from pisa_kit.study.presets import PRESETS
from pisa_kit.study.run import Run
from pisa_kit.study.runner import notebooks, run_study
from pisa_kit.study.settings import AMBIGUOUS
from pisa_kit.viz.site import write_site

NOTEBOOKS = notebooks()
SOLUTIONS = runner.NOTEBOOKS / "solutions" / "solutions.ipynb"


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """The smoke study, with clips of PisaBench's real and sim layouts, run once: (its folder, progress lines)."""
    runs, lines = tmp_path_factory.mktemp("runs"), []
    raw = runs / "bench"
    ball = {"start": 60, "end": 212, "caption": "A ball falls."}
    import_video(DATA / "balldrop_120fps.mp4", raw / "real" / "ball", 120, (28, 74), **ball)
    write_clip(simulate(sample(0), 128, 17, 16), raw / "sim" / "unseen" / "00", "sim")
    prepare(raw, runs / "ready", Settings(size=64, fps=16, frames=17))
    with pytest.MonkeyPatch.context() as patch:
        for path in NOTEBOOKS:  # processes of a test's own take longer to start than what they are to do
            patch.setenv("PISA_WORKERS", "2" if path.stem[:2] == "03" else "1")
            results = run_study("smoke", runs, only=path.stem, say=lines.append, bench=runs / "ready")
    return results.parent, lines


@pytest.mark.parametrize("path", [*NOTEBOOKS, SOLUTIONS], ids=lambda path: path.stem)
def test_committed_notebook_is_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        assert not re.search(r"['\"( ]/(home|root|tmp|work|Users)/", cell.source), "absolute path"
        assert len(cell.source.splitlines()) <= 25 or cell.cell_type == "markdown"
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1 and "PRESET" in tagged[0].source


@pytest.mark.parametrize("path", [*NOTEBOOKS, SOLUTIONS], ids=lambda path: path.stem)
def test_what_the_text_names_is_there(path):
    """`module.name` of the kit, `run.name`, or a preset's number; other words with a dot are none of the kit's."""
    modules = {}
    for _, module, _ in pkgutil.walk_packages(pisa_kit.__path__, "pisa_kit."):
        modules.setdefault(module.split(".")[-1], []).append(module)
    cells = nbformat.read(path, as_version=4).cells
    code = " ".join(re.findall("`([^`\n]+)`", " ".join(cell.source for cell in cells if cell.cell_type == "markdown")))
    for name in re.findall(r"(?<![\w./])[a-z]\w*(?:\.\w+)+", code):
        first, *rest = name.split(".")
        if first in modules and rest not in (["py"], ["ipynb"]):
            places = [(import_module(module), rest) for module in modules[first]] + [(PRESETS["smoke"], [first, *rest])]
            places += [(Run, rest)] * (first == "run")
            found = [reduce(lambda held, part: getattr(held, part, None), parts, place) for place, parts in places]
            assert any(each is not None for each in found), name


@pytest.mark.parametrize("known", [True, False])
def test_the_first_cell_installs_the_kit_only_where_it_is_missing(known, monkeypatch):
    calls, spec = [], importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec(name) if known else None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: calls.append(command))
    for path in NOTEBOOKS:
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if "find_spec" in cell.source]
        for source in cells:
            exec(source, {})
    assert bool(calls) != known
    for command in calls:
        assert all((runner.NOTEBOOKS / one).exists() for one in command if one.startswith(".."))
        assert (runner.NOTEBOOKS / command[-1] / "pyproject.toml").exists()


def test_numbers(smoke):
    folder, lines = smoke
    results = {name: entry["results"] for name, entry in json.loads((folder / "results.json").read_text()).items()}
    assert list(results) == [path.stem for path in NOTEBOOKS]
    assert sum("running" in line for line in lines) == len(NOTEBOOKS)
    assert results["00_watch_stuff_drop"]["g_eff_median"] == pytest.approx(9.81, rel=0.02)
    baseline = results["01_baseline_evaluation"]
    assert baseline["phone_gravity"]["value"] == pytest.approx(9.81, rel=0.10)
    assert baseline["scored"] == baseline["pairs"] > 0
    benched = {(row["method"], row["split"]): row["n"] for row in baseline["bench"] if row["metric"] == "fixed_l2"}
    assert benched == {(method, split): 1 for method in ("truth", "codec", "base") for split in ("real", "sim unseen")}
    still = {row["method"]: row["mean"] for row in baseline["failures"] if row["metric"] == "still"}
    assert still["frozen"] == 1 and still["ideal"] == 0
    mean = {(row["method"], row["split"], row["metric"]): row["mean"] for row in baseline["summary"]}
    for split in ("seen", "unseen"):
        assert mean["ideal", split, "l2"] < mean["slow gravity", split, "l2"] < mean["frozen", split, "l2"]
        assert mean["vanish", split, "l2"] < mean["frozen", split, "l2"]
        assert mean["vanish", split, "fixed_l2"] > mean["frozen", split, "fixed_l2"]
    baseline["g_eff_median"] = {row["method"]: row["median"] for row in baseline["g_eff"] if row["split"] == "unseen"}
    assert baseline["g_eff_median"]["slow gravity"] == pytest.approx(0.18 * 9.81, rel=0.1)
    assert baseline["g_eff_median"]["frozen"] == pytest.approx(0, abs=0.1)


def test_psft_numbers(smoke):
    folder, _ = smoke
    results = json.loads((folder / "results" / "02_psft.json").read_text())
    preset = PRESETS["smoke"]
    mean = {(row["method"], row["split"], row["metric"]): row["mean"] for row in results["summary"]}
    for split in ("seen", "unseen"):
        assert mean["base", split, "visibility"] > 0.3, "the judge finds the base model's objects"
        assert mean["base", split, "fixed_l2"] != mean["PSFT", split, "fixed_l2"], "training changed the videos"
        assert mean["PSFT", split, "background_psnr"] > 25
    assert {row["clips"] for row in results["data"]} == set(preset.psft.data_sizes)
    assert {row["steps"] for row in results["steps"]} == set(preset.psft.step_counts)
    assert {row["method"] for row in results["place_weights"]} == {preset.psft.training.place_weight}
    assert all(row["n"] == preset.data.test_clips for row in results["reductions"])
    assert {row["method"] for row in results["forgetting"]} == {"truth", "base", "PSFT", "PSFT, replay"}
    assert {row["method"] for row in results["replay"]} == {"PSFT", "PSFT, replay"}
    assert all({"low", "high", "n"} <= set(row) for row in results["forgetting"] + results["caption_effect"])
    assert {row["caption"] for row in results["caption_effect"]} == {"falls", "rises", "hovers"}
    likelier = {(row["method"], row["kind"]): row["value"] for row in results["likelihood"]}
    assert set(likelier) == {(method, f"{share} g") for method in ("base", "PSFT") for share in ("0", "0.5", "1.5")}
    assert likelier["base", "0 g"] < 0.5 < likelier["base", "1.5 g"], "the base knows no fall: less motion is likelier"
    assert {(row["method"], row["split"]) for row in results["bench"]} == {
        (method, split) for method in ("base", "PSFT") for split in ("real", "sim unseen")
    }
    logs = [path.read_text() for path in (folder / "models").glob("psft_8_clips_seed*/log.jsonl")]
    assert [len(log.splitlines()) for log in logs] == [preset.psft.training.steps] * len(preset.seeds)


def test_oro_numbers(smoke):
    folder, _ = smoke
    results = json.loads((folder / "results" / "03_oro.json").read_text())
    kept = {(row["choice"], row["N"]): row["mean"] for row in results["best_of"]}
    assert set(kept) == {(choice, 2) for choice in ("random", "seg", "newton", "oracle")}
    assert kept["oracle", 2] <= min(kept["seg", 2], kept["newton", 2], kept["random", 2])
    tuned = {row["method"]: row["mean"] for row in results["without_gradient"] if row["metric"] == "fixed_l2"}
    assert set(tuned) == {"PSFT", "seg, gradient", "seg, nft", "seg, best"}
    looks = {}
    for look in results["validations"]["seg"]:
        looks.setdefault(look["seed"], []).append(look["fixed_l2"])
    helped = any(min(each) < each[0] for each in looks.values())
    assert (tuned["seg, gradient"] != tuned["PSFT"]) == helped, "what helps validation is kept, otherwise PSFT"
    assert {row["against"] for row in results["gradient_against"]} == {"seg, nft", "seg, best"}
    assert {row["method"] for row in results["bench"]} == set(PRESETS["smoke"].oro.rewards)


def test_generalization_numbers(smoke):
    folder, _ = smoke
    results = json.loads((folder / "results" / "04_generalization.json").read_text())
    methods = {
        "base",
        "PSFT",
        *PRESETS["smoke"].oro.rewards,
        "PSFT, pairs",
        "ideal",
        "codec",
        "best guess",
        "slow gravity",
        "frozen",
    }
    gravity = {row["method"]: row["value"] for row in results["gravity"]}
    assert set(gravity) == methods
    assert gravity["ideal"] == pytest.approx(9.81, rel=0.05) and gravity["slow gravity"] == pytest.approx(1.77, rel=0.2)
    assert {row["method"] for row in results["slopes"]} == methods and len(results["slopes"]) == 3 * len(methods)
    assert {(row["objects"], row["backgrounds"]) for row in results["two_by_two"]} == {
        (one, other) for one in ("seen", "unseen") for other in ("seen", "unseen")
    }
    assert {row["method"] for row in results["two_objects"]} == methods
    passed = {row.pop("method"): row for row in results["checks"]}
    assert passed["ideal"]["falls"] == passed["ideal"]["everywhere"] == "passes"
    assert {*passed["slow gravity"].values(), *passed["frozen"].values()} == {"fails"}
    noon = {row["method"]: row["value"] for row in results["noon"]}
    assert set(noon) == {"PSFT", "PSFT, noon", "ideal", "codec", "frozen"} and noon["frozen"] == 1
    assert results["distance_told_within"]["inside"] < 0.05


def test_distribution_numbers(smoke):
    folder, _ = smoke
    results = json.loads((folder / "results" / "05_distribution.json").read_text())
    right, wrong = results["analytic"]
    assert right["p_value"] > 0.05 and right["ks"] < wrong["ks"]
    possible = {row["method"]: row["possible"] for row in results["verdicts"]}
    assert {"base", "PSFT", *AMBIGUOUS, "codec", "best guess"} <= set(possible)
    assert possible["ideal"] == "passes" and possible["frozen"] == possible["slow gravity"] == "fails"
    assert len(results["trainings"]) == 5 * len(PRESETS["smoke"].seeds) + 5  # models, references
    assert [row["one answer"] for row in results["rejections"]] == [1.0]


def test_report_page(smoke):
    folder, _ = smoke
    write_site(folder)
    text = (folder / "site" / "06_report.html").read_text(encoding="utf-8")
    results = json.loads((folder / "results" / "06_report.json").read_text())
    assert all(row["claim"] in text for row in results["findings"])
    assert text.count("data:image/webp;base64,") >= 6
    assert sum(results["counted"].values()) == len(results["findings"])
    assert all(row["claim"] in text for row in results["beyond"])
    assert [row["status"] != "not tested" for row in results["beyond"]][:3] == [True] * 3
    ours = {row["method"]: row for row in results["table_1"] if row["method"].startswith("ours: ")}
    assert {f"ours: {name}" for name in ("base", "PSFT", *PRESETS["smoke"].oro.rewards)} <= set(ours)
    assert all(row["real L2"] != "-" and row["sim seen L2"] == "-" for row in ours.values())


def test_figures(smoke):
    folder, _ = smoke
    figures = sorted(path.name for path in (folder / "figures").glob("*.png"))
    assert {"01_references.png", "02_before_and_after.png", "02_data.png", "02_forgetting.png"} <= set(figures)
    assert {"00_half_g_t_squared.png", "01_table.png", "01_inspector.png", "01_phone_gravity.png"} <= set(figures)


def test_the_inspectors_figure_is_in_the_executed_notebook(smoke):
    folder, _ = smoke
    notebook = nbformat.read(folder / "notebooks" / "01_baseline_evaluation.ipynb", as_version=4)
    [cell] = [cell for cell in notebook.cells if "inspector.inspector(" in cell.source]
    assert any("image/png" in output.get("data", {}) for output in cell.outputs)


def test_the_study_can_be_read_without_a_kernel(smoke):
    folder, _ = smoke
    index = write_site(folder)
    text = index.read_text(encoding="utf-8")
    pages = {path.stem: path.read_text(encoding="utf-8") for path in index.parent.glob("0*.html")}
    assert set(pages) == {path.stem for path in NOTEBOOKS} and all(f"{name}.html" in text for name in pages)
    assert pages["01_baseline_evaluation"].count('data-player="waiting"') == 1
    assert pages["04_generalization"].count('data-player="waiting"') == 1
    assert all("application/vnd.jupyter.widget" not in page for page in pages.values())
    assert sum(len(page) for page in pages.values()) < 15e6


def test_a_second_run_does_nothing_again(smoke):
    folder, _ = smoke
    lines = []
    run_study("smoke", folder.parent, say=lines.append, bench=folder.parent / "ready")
    assert all("done before" in line for line in lines) and len(lines) == len(NOTEBOOKS)
