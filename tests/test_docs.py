"""What the documentation shows runs: recipes in their order, and every command exists."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from joblib import parallel_config
from typer.main import get_command

from pisa_kit.cli import app
from pisa_kit.clips.clip import Clip
from pisa_kit.metrics import evaluation
from pisa_kit.perception.tensors import to_video
from pisa_kit.sim import references
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.study.presets import get_preset
from pisa_kit.training import rewards

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    """The names that the recipes of docs/contributing.md define, executed in order; tables are restored afterwards."""
    for module, table in ((rewards, "REWARD_FUNCTIONS"), (references, "SIMULATED"), (evaluation, "MEASURES")):
        monkeypatch.setattr(module, table, dict(getattr(module, table)))
    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    names = {"RUNS": tmp_path}
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        with parallel_config("sequential"):  # another process would not know what was added here
            exec(compile(code, "contributing.md", "exec"), names)
    return names


def test_recipes_of_the_contributing_page(recipes):
    truth: Clip = simulate(sample(0), 64, 17, 16)
    video, masks = to_video(truth.frames[None]), torch.from_numpy(truth.dropped)[None]
    found = rewards.load_rewards(["dark"])["dark"](video, rewards.Truth(video, masks))
    assert found.counted.all() and 0 < float(found.loss) < 1
    table = recipes["scores"].table
    assert set(table["method"]) == {"truth", "moon", "frozen"} and table["area_change"].notna().all()
    moon = table.loc[table["method"] == "moon", "g_eff"]
    assert moon.median() == pytest.approx(1.62, rel=0.15)


def shown_commands() -> list[str]:
    """What follows `pisa` or `python -m pisa_kit.cli` in README, docs and the commands' own help."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.S)).replace("\\\n", " ").splitlines()
        found += [*blocks, *re.findall(r"`(pisa \w+ [^`]*)`", text)]
    found += [line for command in get_command(app).commands.values() for line in command.help.splitlines()]
    commands = [re.search(r"(?:\bpisa|-m pisa_kit\.cli) ([a-z].*)", line) for line in found if "`pisa" not in line]
    commands = [command[1].replace("$seed", "0") for command in commands if command]
    return [text[: text.rindex('"')] if text.count('"') % 2 else text for text in commands]  # the end of bash -c "..."


def test_commands_are_found():
    assert {"simulate", "import", "score", "study", "train", "plan"} <= {words.split()[0] for words in shown_commands()}


@pytest.mark.parametrize("words", sorted(set(shown_commands())))
def test_shown_commands_are_understood(words):
    name, *given = shlex.split(words, comments=True)
    command = get_command(app).commands[name]
    settings = command.make_context(name, given).params
    if settings.get("preset") and "set" in settings:
        get_preset(" ".join([settings["preset"], *settings["set"]]), settings["model"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert "://" in link or (page.parent / link).exists(), link
