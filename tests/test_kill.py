"""kill -9 at any moment: the same command, called again, ends with the same bytes and leaves nothing unfinished."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pisa_kit.models.embedded import assemble

KILLS = int(os.environ.get("PISA_KILLS", 2))  # of each command; 20 for a night
PISA = [sys.executable, "-m", "pisa_kit.cli"]
SMALL = ["--count", "6", "--size", "32", "--frames", "5"]
COMMANDS = {
    "simulate": ["simulate", "out", *SMALL, "--workers", "2"],
    "simulate in sim layout": ["simulate", "out", *SMALL, "--layout", "sim", "--workers", "1"],
    "prepare": ["prepare", "clips", "out", "--size", "32"],
    "score": ["score", "pairs.jsonl", "-o", "scores.jsonl", "--workers", "1"],
    "generate": ["generate", "embedded", "ready", "out", "--path", "model", "--steps", "2"],
}


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    """What the commands work on."""
    folder = tmp_path_factory.mktemp("material")
    for command in (["simulate", "clips", *SMALL, "--layout", "sim"], ["prepare", "clips", "ready", "--size", "64"]):
        subprocess.run([*PISA, *command], cwd=folder, check=True, capture_output=True)
    assemble().save_pretrained(folder / "model")
    rng, lines = np.random.default_rng(0), []
    for number in range(40):
        np.savez(folder / f"{number}.npz", mask=rng.random((8, 1, 64, 64)) > 0.9)
        lines.append(json.dumps({"gt_mask": f"{number}.npz", "gt_fps": 16, "pd_mask": "0.npz", "pd_fps": 16}))
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_and_called_again(tmp_path, material, name):
    command, rng = [*PISA, *COMMANDS[name]], np.random.default_rng(sorted(COMMANDS).index(name))
    whole, killed = (shutil.copytree(material, tmp_path / kind) for kind in ("whole", "killed"))
    start = time.monotonic()
    subprocess.run(command, cwd=whole, check=True, capture_output=True)
    seconds = time.monotonic() - start
    for _ in range(KILLS):
        process = subprocess.Popen(
            command, cwd=killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(seconds * rng.uniform(0.3, 1.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, cwd=killed, check=True, capture_output=True)
    expected = contents(whole)
    found = contents(killed)
    for files in (expected, found):  # what they say of where they were made
        files.pop(".lock", None)
    assert [file for file in found if "unfinished" in file] == []
    different = [file for file in expected if found.get(file) != expected[file] and "manifest" not in file]
    assert not different and set(found) == set(expected)
