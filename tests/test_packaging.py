"""What a newcomer installs: pinned versions agree everywhere, and what the README names is there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonical(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line}


def test_every_dependency_is_pinned(pins):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["test"]
    assert {canonical(name.split("==")[0]) for name in needed} <= set(pins)
    assert "torch==2.13.0" in needed and pins["torch"] == "2.13.0"


def test_conda_environment_has_the_same_versions(pins):
    found = dict(re.findall(r"^ +- ([\w-]+)==?([\w.]+)$", (ROOT / "environment.yml").read_text(), re.MULTILINE))
    found.pop("python")
    assert len(found) > 10 and all(pins[canonical(name)] == version for name, version in found.items())
    conda, pip = (ROOT / "environment.yml").read_text().split("- pip:\n")
    assert not re.search("- (torch|accelerate|diffusers|peft|transformers)=", conda) and "- torch==" in pip  # one torch


def test_readme_targets_exist():
    targets = set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    assert {"study", "test"} <= targets and all(re.search(rf"^{target}:", makefile, re.M) for target in targets)


def test_readme_pictures_and_files_exist():
    text = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert len(links) >= 5
    for link in links:
        assert (ROOT / link).exists(), link
