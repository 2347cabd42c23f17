"""kill -9 at any moment: the same command, called again, ends with the same bytes and leaves nothing unfinished.

Every command runs in a fork of a process that has imported the package, so that most kills meet work, not imports.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

from pisa_kit.cli import main
from pisa_kit.models.embedded import assemble

KILLS = int(os.environ.get("PISA_KILLS", 0))  # of each command; 0: one, and none of the study, which takes minutes
SMALL = ["--count", "6", "--size", "32", "--frames", "5"]
COMMANDS = {
    "simulate": ["simulate", "out", *SMALL, "--workers", "2"],
    "simulate in sim layout": ["simulate", "out", *SMALL, "--layout", "sim", "--workers", "1"],
    "prepare": ["prepare", "clips", "out", "--size", "32"],
    "score": ["score", "pairs.jsonl", "-o", "scores.jsonl", "--workers", "1"],
    "generate": ["generate", "embedded", "ready", "out", "--path", "model", "--steps", "2"],
    "train": ["train", "PSFT", "--preset", "smoke"],
    "study": ["study", "--preset", "smoke", "--only", "00"],
}
OF_THE_MOMENT = ("date", "seconds")  # what JSON says of when and how long, not of what came out
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pisa_kit.cli.models", "pisa_kit.study.runner", "pisa_kit.viz.site"])


def run(words: list[str], folder: Path):
    """One command, the leader of its own session."""
    os.setsid()
    os.chdir(folder)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.argv = ["pisa", *words]
    try:
        main()
    finally:
        get_reusable_executor().shutdown()  # as at the end of an interpreter, which a fork does not reach


def start(words: list[str], folder: Path) -> multiprocessing.Process:
    process = FORKS.Process(target=run, args=(words, folder))
    process.start()
    return process


def kill(process: multiprocessing.Process):
    """Kills a command and what it has started."""
    if process.is_alive():
        with suppress(ProcessLookupError):  # it does not lead a group yet
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.join()


def finish(words: list[str], folder: Path) -> float:
    """Runs a command to its end; returns its seconds."""
    began = time.monotonic()
    process = start(words, folder)
    process.join(600)
    kill(process)
    assert process.exitcode == 0, words
    return time.monotonic() - began


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    """What the commands work on."""
    folder = tmp_path_factory.mktemp("material")
    finish(["simulate", "clips", *SMALL, "--layout", "sim"], folder)
    finish(["prepare", "clips", "ready", "--size", "64"], folder)
    assemble().save_pretrained(folder / "model")
    rng, lines = np.random.default_rng(0), []
    for number in range(40):
        np.savez(folder / f"{number}.npz", mask=rng.random((8, 1, 64, 64)) > 0.9)
        lines.append(json.dumps({"gt_mask": f"{number}.npz", "gt_fps": 16, "pd_mask": "0.npz", "pd_fps": 16}))
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return folder


def contents(folder: Path) -> dict[str, object]:
    """What every file holds, but for those with clock times: TensorBoard's, executed notebooks and their pages."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or path.name == ".lock" or "tfevents" in name or "/notebooks/" in name or "/site/" in name:
            continue
        found[name] = path.read_bytes()
        if path.suffix == ".safetensors":  # the order of what its header says changes from process to process
            size = int.from_bytes(found[name][:8], "little")
            found[name] = json.loads(found[name][8 : 8 + size]), found[name][8 + size :]
        if path.suffix in (".json", ".jsonl"):
            text = found[name].decode().replace(str(folder), "FOLDER")
            rows = text.splitlines() if path.suffix == ".jsonl" else [text]
            found[name] = [json.loads(row, object_hook=_lasting) for row in rows]
    return found


def _lasting(entry: dict) -> dict:
    return {key: value for key, value in entry.items() if key not in OF_THE_MOMENT}


@pytest.mark.parametrize("name", [name for name in COMMANDS if KILLS or name != "study"])
def test_killed_and_called_again(tmp_path, material, name):
    rng = np.random.default_rng([sorted(COMMANDS).index(name), KILLS])
    whole, killed = (shutil.copytree(material, tmp_path / kind) for kind in ("whole", "killed"))
    seconds, died = finish(COMMANDS[name], whole), 0
    for _ in range(10 * (KILLS or 1)):
        process = start(COMMANDS[name], killed)
        process.join(seconds * rng.uniform(0, 1))
        met = process.exitcode is None
        kill(process)
        died += met
        if died == (KILLS or 1):
            break
        if not met:  # it was faster: anew
            shutil.rmtree(killed)
            shutil.copytree(material, killed)
    assert died, "no kill met the command at work"
    finish(COMMANDS[name], killed)
    expected, found = contents(whole), contents(killed)
    assert not [path for path in killed.rglob("*unfinished*")]
    assert [file for file in expected if found.get(file) != expected[file]] == [] and set(found) == set(expected)
