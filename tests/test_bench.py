"""PisaBench's clips, real and simulated, through the shipped tracker and SAM 2; Table 1 with all its columns."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from test_adapters import small_sam2

from pisa_kit.cli import main
from pisa_kit.clips.clip import Clip
from pisa_kit.clips.formats import write_clip
from pisa_kit.core.storage import DATA
from pisa_kit.perception.footage import import_video
from pisa_kit.perception.prepare import Settings, prepare
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.study import experiments
from pisa_kit.study.bench import bench_table, score_bench, split_of, without_column
from pisa_kit.study.run import open_run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with PisaBench's two parts, each made ready by a call of its own."""
    folder = tmp_path_factory.mktemp("bench")
    ball = {"start": 60, "end": 212, "caption": "A ball falls."}
    import_video(DATA / "balldrop_120fps.mp4", folder / "raw/real/ball", 120, (28, 74), **ball)
    for split in ("seen", "unseen"):
        clip = simulate(sample(0, objects=split, backgrounds=split), 128, 17, 16)
        write_clip(clip, folder / "raw/sim" / split / "00", "sim")
    for part in ("real", "sim"):
        prepare(folder / "raw" / part, folder / "ready" / part, Settings(size=64, fps=16, frames=17))
    return folder / "ready"


@pytest.fixture
def run(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "run_jobs", lambda function, jobs, label: [function(*job) for job in jobs])
    return open_run("smoke", tmp_path, bench=str(prepared))


def test_the_bench_is_scored_by_split_with_lost_frames_and_failures(run):
    bench = score_bench(run, ["truth", "codec", "base"], [0])
    summary = bench.summary().set_index(["method", "split", "metric"])["mean"]
    assert set(bench.sets) == {"real", "sim seen", "sim unseen"} and not bench.scores.failures
    assert summary["codec", "real", "fixed_l2"] < summary["base", "real", "fixed_l2"], "a still ball is far off"
    assert summary["base", "sim seen", "still"] + summary["base", "sim seen", "too_slow"] == 1
    lost = bench.lost().set_index(["method", "split"])
    assert lost.loc[("base", "real"), "frames"] == 17
    assert lost.loc[("base", "real"), "lost"] == (~bench.scores.videos["base", "real", 0][0].dropped.any((1, 2))).sum()
    assert "sim/seen/00" in set(bench.failures().query("method == 'base'")["name"])


def test_sam2_looks_at_the_bench_too(run, tmp_path):
    small_sam2().save_pretrained(tmp_path / "sam2")
    preset = replace(run.preset, bench_tracker="sam2", sam2=str(tmp_path / "sam2"))
    bench = score_bench(replace(run, preset=preset), ["base"], [0])
    assert len(bench.scores.table) == 3 and (tmp_path / "sam2/config.json").exists()
    start = bench.scores.videos["base", "sim seen", 0][0].dropped[0]
    np.testing.assert_array_equal(start, bench.sets["sim seen"][0].dropped[0])


@pytest.mark.parametrize(
    ("name", "split"),
    [("sim/unseen/00", "sim unseen"), ("sim_unseen/000", "sim unseen"), ("seen/0", "sim seen"), ("sim/000", "sim")],
)
def test_the_path_says_what_training_has_seen(name, split):
    assert split_of(Clip(np.zeros((2, 16, 16, 3), np.uint8), 16.0, name=name)) == split


def test_table_1_has_all_columns_ours_above_the_papers():
    row = {"method": "PSFT", "split": "real", "metric": "l2", "mean": 0.05, "low": 0.04, "high": 0.06}
    results = {"02_psft": {"bench": [row, row | {"split": "sim", "mean": 1.0}, row | {"metric": "iou", "mean": None}]}}
    table = bench_table(results)
    assert without_column(results) == ["sim"], "it is said, not shown"
    assert list(table) == [
        "method",
        *(f"{s} {m}" for s in ("real", "sim seen", "sim unseen") for m in ("L2", "CD", "IoU")),
    ]
    assert table.iloc[0].tolist() == ["ours: PSFT", "0.050 [0.040, 0.060]", *["-"] * 8]
    paper = table.set_index("method").loc["paper: Open-Sora + PSFT (base)"]
    assert paper["real L2"] == "0.076" and paper["sim unseen IoU"] == "0.129" and len(table) == 13


def test_the_command_takes_a_folder_of_prepared_clips(prepared, tmp_path, monkeypatch):
    words = ["pisa", "study", "--preset", "smoke", "--runs", str(tmp_path), "--bench", str(prepared), "--only", "99"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="2"):
        main()
    assert not list(tmp_path.glob("smoke*/data"))


def test_without_a_bench_there_is_nothing_to_score(tmp_path):
    assert score_bench(open_run("smoke", tmp_path), ["base"], [0]) is None
