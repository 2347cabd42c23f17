"""What an artefact is called changes with what shaped it, and with nothing else."""

import numpy as np
import pytest
import torch
from torch import nn

from pisa_kit.core import artefacts
from pisa_kit.core.errors import InputError
from pisa_kit.models.embedded import assemble
from pisa_kit.study.presets import PRESETS, get_preset
from pisa_kit.study.run import Run, open_run
from pisa_kit.training.latents import Stored

CODE = """
def f(x):
    return x + 1  # one
"""


def test_comments_docstrings_and_layout_change_nothing():
    more = 'def f(x):\n\n    """One more."""\n    # a comment\n    return (x\n            + 1)\n'
    assert artefacts.syntax(CODE) == artefacts.syntax(more) == artefacts.syntax('"""Module."""' + CODE)


def test_any_other_change_changes_the_name():
    assert len({artefacts.syntax(CODE), artefacts.syntax(CODE.replace("+ 1", "+ 2")), artefacts.syntax(CODE * 2)}) == 3
    assert artefacts.syntax('x = "a"') != artefacts.syntax('x = "b"'), "a string that is no docstring counts"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's modules to change."""
    for path in artefacts.PACKAGE.rglob("*.py"):
        copy = tmp_path / path.relative_to(artefacts.PACKAGE)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(artefacts, "PACKAGE", tmp_path)
    artefacts.code.cache_clear()
    yield tmp_path
    artefacts.code.cache_clear()


def named(package, module: str, text: str) -> dict[str, str]:
    """The names of the code of every kind after text was added to a module."""
    path = package / f"{module}.py"
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    artefacts.code.cache_clear()
    return {kind: artefacts.code(kind) for kind in artefacts.CODE}


def test_a_comment_never_makes_anything_anew(package):
    before = {kind: artefacts.code(kind) for kind in artefacts.CODE}
    modules = {module for modules in artefacts.CODE.values() for module in modules}
    for module in modules:
        path = package / f"{module}.py"
        path.write_text(path.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")
    assert named(package, next(iter(modules)), "# and another\n") == before


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        ("training/psft", {"candidates", "psft", "oro"}),
        ("training/latents", {"latents"}),
        ("training/loop", {"candidates", "psft", "oro", "guess"}),
        ("training/optimizers", {"candidates", "psft", "oro", "guess"}),
        ("training/settings", {"candidates", "psft", "oro", "guess"}),
        ("models/sampling", {"candidates", "videos", "oro", "validation"}),
        ("models/conditioning", {"candidates", "videos", "oro", "psft", "latents", "references", "validation"}),
        ("perception/nets", {"candidates", "oro", "guess", "references", "validation"}),
        ("training/rewards", {"candidates", "oro"}),
        ("perception/trackers", {"candidates", "oro", "validation"}),
        ("metrics/l2_chamfer_iou", {"candidates", "validation"}),
        ("training/gradient_free", {"candidates"}),
        ("study/paper_clips", {"mixed"}),
        ("clips/resize", {"mixed"}),
        ("sim/corpora", {"drops", "latents"}),
        ("sim/simulate", {"clips", "drops", "references"}),
        ("sim/settings", {"clips", "drops", "references"}),
    ],
)
def test_changed_code_makes_anew_what_it_shapes_and_nothing_else(package, module, kinds):
    before = {kind: artefacts.code(kind) for kind in artefacts.CODE}
    after = named(package, module, "\nCHANGED = 1\n")
    assert {kind for kind in before if before[kind] != after[kind]} == kinds


def test_a_models_name_changes_with_weights_and_scheduler():
    first, same, other = assemble(), assemble(), assemble(seed=1)
    assert artefacts.model(first) == artefacts.model(same) != artefacts.model(other)
    same.scheduler.register_to_config(shift=2.0)
    assert artefacts.model(first) != artefacts.model(same)


def test_weights_in_any_precision_have_a_name():
    layer = nn.Linear(2, 2)
    assert artefacts.weights(layer) != artefacts.weights(layer.to(torch.bfloat16))


def test_files_are_named_by_what_is_in_them(tmp_path):
    (tmp_path / "a").write_text("1")
    first = artefacts.files(tmp_path)
    (tmp_path / ".hidden").write_text("2")
    assert artefacts.files(tmp_path) == first
    (tmp_path / "a").write_text("3")
    assert artefacts.files(tmp_path) != first


def test_a_run_with_an_unknown_reward_is_not_opened(tmp_path):
    with pytest.raises(InputError, match="reward: 'nope' is unknown"):
        open_run("smoke oro.rewards={'mine':{'nope':1.0}}", tmp_path)


def test_another_seed_has_a_folder_of_its_own_and_long_names_are_cut(tmp_path):
    assert open_run("smoke", tmp_path).folder.name == "smoke"
    assert open_run("smoke", tmp_path, seed=5).folder.name == "smoke_seed5"
    names = {open_run(f"smoke psft.source=/{'ä' * 150}/{end}", tmp_path).folder.name for end in "ab"}
    assert len(names) == 2 and all(len(name.encode()) < 255 for name in names)


def test_scenes_of_training_never_meet_others(tmp_path):
    with pytest.raises(InputError, match="seed: is 10. Choose 0 to 9"):
        open_run("smoke", tmp_path).drops(10)


def test_a_training_on_all_clips_leaves_them_on_the_disk(tmp_path, monkeypatch):
    run, given = open_run("smoke", tmp_path), []
    monkeypatch.setattr("pisa_kit.study.run.train_transformer", lambda base, cached, *rest: given.append(cached))
    for clips in (run.preset.psft.clips, 4):
        run.psft(clips, 4, 0)
    assert all(isinstance(each, Stored) for each in given[0].values())
    assert {len(each) for each in given[-1].values()} == {4} and isinstance(given[-1]["text"], np.ndarray)


def test_runs_are_named_by_settings_nets_and_place_weight(tmp_path, monkeypatch):
    run = Run(get_preset("smoke"), tmp_path)
    base = run.base()
    one = run.oro_folder(base, "seg", 0)
    monkeypatch.setattr("pisa_kit.core.artefacts.files", lambda _: "other nets")
    assert run.oro_folder(base, "seg", 0) != one
    assert run.psft_folder(8, 0) == run.psft_folder(8, 0, place_weight=PRESETS["smoke"].psft.training.place_weight)
    assert run.psft_folder(8, 0) != run.psft_folder(8, 0, place_weight="below")


def test_only_steps_before_the_rate_falls_are_shared_with_a_longer_run(tmp_path):
    run = Run(get_preset("smoke"), tmp_path)  # 4 steps, the rate falls over the last 2
    assert run.psft_folder(8, 0, steps=4) == run.psft_folder(8, 0, steps=2) == run.psft_folder(8, 0)
    assert run.psft_folder(8, 0, steps=3) == run.psft_folder(8, 0, steps=5) != run.psft_folder(8, 0)
    longer = Run(get_preset("smoke psft.training.steps=6"), tmp_path)
    assert longer.psft_folder(8, 0) != run.psft_folder(8, 0)
