"""The `pisa` command: what it prints, its exit codes, and one-line messages for bad input."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pisa_kit.cli import app, main
from pisa_kit.clips.annotations import read_masks
from pisa_kit.clips.formats import read_clip
from pisa_kit.core.storage import DATA
from pisa_kit.study.run import open_run


def pisa(*arguments, folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from pisa_kit.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def save_pairs(folder: Path, broken: bool) -> Path:
    mask = np.zeros((8, 1, 32, 32), bool)
    mask[:, :, 10:14, 10:14] = True
    np.savez_compressed(folder / "truth.npz", mask=mask)
    np.savez_compressed(folder / "moved.npz", mask=np.roll(mask, 3, axis=3))
    (folder / "cut.npz").write_bytes((folder / "moved.npz").read_bytes()[:100])
    lines = [
        {"gt_mask": "truth.npz", "gt_fps": 16, "pd_mask": name, "pd_fps": 16} for name in ("truth.npz", "moved.npz")
    ]
    if broken:
        lines.append({**lines[0], "pd_mask": "cut.npz", "name": "the cut one"})
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "pairs.jsonl"


def test_score_writes_a_line_per_pair_and_prints_the_count(tmp_path):
    done = pisa("score", save_pairs(tmp_path, broken=False), "-o", "scores.jsonl", folder=tmp_path)
    assert done.returncode == 0 and "scored 2 of 2" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert rows[1]["fixed_l2"] == pytest.approx(3 / 32) and rows[1]["l2"] == pytest.approx(3 / 64 / np.sqrt(2))
    assert {"l2", "chamfer_distance", "iou", "fixed_l2", "fixed_iou", "coverage"} <= set(rows[0])


def test_score_names_failures_and_exits_with_an_error_unless_allowed(tmp_path):
    pairs = save_pairs(tmp_path, broken=True)
    strict = pisa("score", pairs, folder=tmp_path)
    allowed = pisa("score", pairs, "--allow-failures", folder=tmp_path)
    assert strict.returncode == 1 and allowed.returncode == 0
    for done in (strict, allowed):
        assert "scored 2 of 3" in done.stdout and "the cut one" in done.stdout and "truncated or corrupt" in done.stdout


def test_simulate_writes_a_benchmark_layout(tmp_path):
    settings = ("--count", 2, "--size", 32, "--frames", 5, "--layout", "sim", "--workers", 1)
    done = pisa("simulate", "data", *settings, folder=tmp_path)
    assert done.returncode == 0 and "2 clips in data" in done.stdout
    assert read_masks(tmp_path / "data" / "00001" / "mask.npz").shape[0] == 5


def test_from_benchmark_to_scores_by_commands_alone(tmp_path, monkeypatch):
    settings = ("--count", 2, "--layout", "sim", "--workers", 1)
    assert pisa("simulate", "raw", *settings, folder=tmp_path).returncode == 0
    ready = pisa("prepare", "raw", "clips", "--size", 64, folder=tmp_path)
    assert ready.returncode == 0 and "prepared 2 of 2" in ready.stdout, ready.stderr
    filmed = pisa("generate", "embedded", "clips", "videos", "--steps", 1, folder=tmp_path)
    assert filmed.returncode == 0 and "2 videos in videos" in filmed.stdout, filmed.stderr
    scored = pisa("evaluate", "clips", "videos", "--tracker", "judge", folder=tmp_path)
    assert scored.returncode == 0 and "scored 2 of 2" in scored.stdout, scored.stderr
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 3
    (tmp_path / "videos" / "00001.npz").unlink()
    monkeypatch.chdir(tmp_path)
    lacking = CliRunner().invoke(app, ["evaluate", "clips", "videos"])
    assert lacking.exit_code == 1 and "scored 1 of 2" in lacking.stdout
    assert "failed: 00001: has no video" in lacking.stdout
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "other.mp4").write_bytes(b"")
    nothing = CliRunner().invoke(app, ["evaluate", "clips", "none"])
    assert nothing.exit_code == 1 and "scored 0 of 2" in nothing.stdout


def test_import_turns_the_phone_video_into_a_real_clip(tmp_path):
    settings = (
        "--fps",
        120,
        "--rotate",
        90,
        "--start",
        160,
        "--end",
        176,
        "--point",
        "44,508",
        "--caption",
        "A red ball falls.",
    )
    done = pisa("import", DATA / "balldrop_120fps.mp4", "ball", *settings, folder=tmp_path)
    assert done.returncode == 0 and "16 frames at 120 fps" in done.stdout and "object found in" in done.stdout
    clip = read_clip(tmp_path / "ball")
    assert clip.fps == 120 and clip.caption == "A red ball falls." and clip.info["points"][0]["positive"] == [[44, 508]]
    centre = clip.dropped[0].nonzero()
    assert abs(np.mean(centre[0]) - 508) < 15 and clip.dropped.any((1, 2)).mean() > 0.9


def test_import_reads_gravity_from_a_scale_and_takes_corrections(tmp_path):
    settings = ("--fps", 120, "--rotate", 90, "--start", 118, "--end", 216, "--point", "27,75", "--longest", 480)
    scale = ("--ends", "27,75,36,1640", "--metres", 2.28, "--tilted", "--fix", "54,50,776")
    done = pisa("import", DATA / "balldrop_120fps.mp4", "ball", *settings, *scale, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    g, low, high = map(float, re.search(r"g = (\S+) m/s² \[(\S+), (\S+)\]", done.stdout).groups())
    assert low < g < high and g == pytest.approx(9.81, rel=0.1)
    assert read_clip(tmp_path / "ball").frames.shape[1:3] == (480, 48)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("import", "nowhere.mp4", "out", "--fps", "30", "--point", "1,1", "--fix", "3,4"), "fix: is '3,4'"),
        (("study", "--preset", "ful"), "'ful' is unknown. Did you mean 'full'?"),
        (("score", "nowhere.jsonl"), "nowhere.jsonl: file: does not exist"),
        (("simulate", "data", "--fps", "0", "--count", "1"), "fps: is 0"),
        (("simulate", "data", "--height", "low,high"), "height: is 'low,high'"),
        (("simulate", "data", "--objects", "sen"), "objects: is 'sen'. Did you mean 'seen'?"),
        (("simulate", "data", "--layout", "simm", "--count", "1"), "Did you mean 'sim'?"),
        (("pretrain", "transformr"), "stage: 'transformr' is unknown. Did you mean 'transformer'?"),
        (("import", "nowhere.mp4", "out", "--fps", "nan", "--point", "1,1"), "fps: is nan"),
        (("study", "--workers", "0"), "workers: is 0"),
        (("study", "--share", "0.5"), "share: is 0.5"),
        (("study", "--train", "my clips.zip"), "Choose a path without blanks"),
        (("study", "--set", "psft.place_weights=('nope',)"), "place_weights[0]: is 'nope'"),
        (("study", "--set", "oro.rewards={'<b>':{'seg':1.0}}"), "rewards.<b>"),
        (("study", "--set", "oro.tuning.early_stopping_metric=fixd_l2"), "early_stopping_metric: is 'fixd_l2'"),
        (("study", "--preset", ""), "preset: '' is unknown"),
    ],
)
def test_bad_input_is_one_line_that_names_it(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pisa", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_the_command_itself_refuses_with_exit_code_2(tmp_path):
    done = pisa("study", "--preset", "ful", folder=tmp_path)
    assert done.returncode == 2 and "Did you mean 'full'?" in done.stderr and "Traceback" not in done.stderr


def test_training_in_two_processes_is_what_the_study_then_finds(tmp_path):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "pisa_kit.cli"]
    command = [sys.executable, *launch, "train", "seg", "--preset", "smoke", "--runs", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("seg, seed 0, in") == 1
    run = open_run("smoke", tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    tuned = run.oro_folder(run.model("PSFT", 0), "seg", 0)
    run.model("seg", 0)
    assert tuned / "pipeline_2" in {path.parent.parent for path in kept}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == kept, (
        "nothing is trained again"
    )
