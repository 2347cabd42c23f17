"""Several seeds and a card: spread over seeds, whole or refused, and what was changed afterwards is named."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_adapters import small_sam2
from typer.testing import CliRunner

from pisa_kit.cli import app
from pisa_kit.clips.clip import Clip
from pisa_kit.clips.formats import write_clip
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import read_json, write_json
from pisa_kit.models.embedded import load
from pisa_kit.models.generation import Protocol, generate
from pisa_kit.models.prompts import TEMPLATES, template
from pisa_kit.perception.prepare import Settings, prepare, read_prepared
from pisa_kit.perception.trackers import Sam2, track_clips
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.study import seeds
from pisa_kit.study.seeds import evaluate_seeds
from pisa_kit.study.submission import check_submission, write_submission


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(prepared clips, videos of two seeds, the submission written from them)."""
    folder = tmp_path_factory.mktemp("submission")
    for index in range(2):
        write_clip(simulate(sample(index), 64, 17, 16), folder / "raw" / "seen" / f"{index:02d}", "sim")
    prepare(folder / "raw", folder / "data", Settings(size=64))
    truths, pipeline = read_prepared(folder / "data"), load()
    for seed in (0, 1):
        protocol = Protocol("embedded", "abc", steps=1, template=TEMPLATES["static"])
        generate(pipeline, protocol, truths, seed, folder / "videos" / f"seed{seed}")
    report = evaluate_seeds(folder / "data", folder / "videos", 2, workers=1)
    write_submission(folder / "out", report, folder / "data", folder / "videos", "judge")
    return folder / "data", folder / "videos", folder / "out", report


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made[2], tmp_path / "out")
    return tmp_path / "out"


def wrong(made, copy):
    return check_submission(copy / "card.json", made[0], copy / "videos", workers=1)


def test_mean_and_std_over_seeds_beside_the_interval_over_clips(made):
    report, row = made[3], made[3].summary().loc["fixed_l2"]
    each = [rows["fixed_l2"].mean() for _, rows in report.table.groupby("seed")]
    assert row["mean"] == pytest.approx(np.mean(each)) and row["std"] == pytest.approx(np.std(each, ddof=1))
    assert row["std"] > 0 and row["low"] <= row["mean"] <= row["high"] and row["n"] == 2
    assert report.lines()[0] == "scored 4 of 4" and "±" in report.lines()[1]


def test_a_submission_holds_protocol_hashes_and_each_video_beside_its_score(made, copy):
    card, text = read_json(copy / "card.json"), (copy / "card.md").read_text()
    assert card["protocol"]["template"] == TEMPLATES["static"] and card["seeds"] == [0, 1] and len(card["videos"]) == 4
    assert card["protocol"]["template"] in text and "Scored 4 of 4" in text
    rows = (copy / "scores.csv").read_text().splitlines()
    assert len(rows) == 5 and "videos/seed1/seen/01" in rows[-1] and (copy / "videos/seed1/seen/01.npz").exists()
    assert wrong(made, copy) == []


def test_what_is_missing_added_or_changed_is_named(made, copy):
    (copy / "videos/seed1/seen/01.npz").unlink()
    assert wrong(made, copy) == ["seed1/seen/01: is not in the folder"]
    shutil.copy(copy / "videos/seed0/seen/01.npz", copy / "videos/seed1/seen/01.npz")
    assert wrong(made, copy) == ["seed1/seen/01: is not the video that was scored"]
    shutil.copytree(copy / "videos/seed0", copy / "videos/seed2")
    assert "seeds: the card has 2, the folder 3" in wrong(made, copy)
    shutil.rmtree(copy / "videos/seed2")
    shutil.rmtree(copy / "videos/seed1")
    assert wrong(made, copy)[0] == "seeds: the card has 2, the folder 1"


def test_other_numbers_protocols_and_clips_are_named(made, copy, tmp_path):
    card = read_json(copy / "card.json")
    better = card | {"summary": card["summary"] | {"fixed_l2": card["summary"]["fixed_l2"] | {"mean": 0.01}}}
    write_json(copy / "card.json", better)
    assert wrong(made, copy)[0].startswith("fixed_l2: mean: the card says 0.0100, the videos 0.")
    sure = {name: row | {"std": 0.0} for name, row in card["summary"].items()}
    write_json(copy / "card.json", card | {"summary": sure})
    assert any(line.startswith("fixed_l2: std: the card says 0.0000") for line in wrong(made, copy))
    write_json(copy / "card.json", card)
    scores = pd.read_csv(copy / "scores.csv")
    scores.assign(l2=scores["l2"] / 2).to_csv(copy / "scores.csv", index=False)
    assert {line.split(" says")[0] for line in wrong(made, copy)} >= {"l2: mean: scores.csv", "l2: low: scores.csv"}
    (copy / "scores.csv").write_text("junk")
    with pytest.raises(InputError, match="scores.csv: file: cannot be read"):
        wrong(made, copy)
    scores.to_csv(copy / "scores.csv", index=False)
    write_json(copy / "card.json", card | {"protocol": card["protocol"] | {"steps": 50}})
    assert wrong(made, copy)[0].startswith("protocol: the videos' manifests say")
    write_json(copy / "card.json", card | {"seeds": "four"})
    with pytest.raises(InputError, match="card.json: seeds"):
        wrong(made, copy)
    write_json(copy / "card.json", card)
    write_clip(simulate(sample(2), 64, 17, 16), tmp_path / "raw" / "seen" / "00", "sim")
    prepare(tmp_path / "raw", tmp_path / "data", Settings(size=64))
    found = check_submission(copy / "card.json", tmp_path / "data", copy / "videos", workers=1)
    assert found[0].endswith("clips: are not those of the card") and "scored: 4 of 4, not 2" in found


def test_an_incomplete_or_repeated_one_is_not_written(made, tmp_path):
    data, videos, _, report = made
    shutil.copytree(videos, tmp_path / "videos")
    (tmp_path / "videos/seed1/seen/00.npz").unlink()
    partial = evaluate_seeds(data, tmp_path / "videos", 2, workers=1)
    with pytest.raises(InputError, match="seed1/seen/00: has no video"):
        write_submission(tmp_path / "out", partial, data, tmp_path / "videos", "judge")
    with pytest.raises(InputError, match="seeds: are 2 .*, not 4"):
        evaluate_seeds(data, videos, 4)
    shutil.rmtree(tmp_path / "videos/seed1")
    shutil.copytree(videos / "seed0", tmp_path / "videos/seed1")
    with pytest.raises(InputError, match="seeds: repeat"):
        write_submission(tmp_path / "out", report, data, tmp_path / "videos", "judge")
    write_json(tmp_path / "videos/seed1/manifest.json", read_json(videos / "seed1/manifest.json"))
    shutil.copy(videos / "seed1/seen/01.npz", tmp_path / "videos/seed1/seen/01.npz")
    with pytest.raises(InputError, match="seen/00: has the same video in two seeds"):
        write_submission(tmp_path / "out", report, data, tmp_path / "videos", "judge")
    (tmp_path / "videos/seed1/manifest.json").unlink()
    with pytest.raises(InputError, match="manifest.json"):
        write_submission(tmp_path / "out", report, data, tmp_path / "videos", "judge")
    assert not (tmp_path / "out").exists()


def test_by_command(made, tmp_path, monkeypatch):
    data, videos, _, _ = made
    monkeypatch.chdir(tmp_path)

    def pisa(*arguments):
        return CliRunner().invoke(app, list(map(str, arguments)))

    done = pisa("evaluate", data, videos, "--seeds", 2, "--tracker", "judge", "--submit", "sub")
    assert done.exit_code == 0 and "scored 4 of 4" in done.output and "seeds = 2" in done.output
    monkeypatch.setattr(seeds, "evaluate_seeds", None)  # is not reached: what is there is said before hours of scoring
    again = pisa("evaluate", data, videos, "--seeds", 2, "--tracker", "judge", "--submit", "sub")
    assert isinstance(again.exception, InputError) and "sub: folder: exists" in str(again.exception)
    right = pisa("evaluate", data, "sub/videos", "--check", "sub/card.json")
    assert right.exit_code == 0 and "is right" in right.output
    (tmp_path / "sub/videos/seed0/seen/00.npz").unlink()
    refused = pisa("evaluate", data, "sub/videos", "--check", "sub/card.json")
    assert refused.exit_code == 1 and "refused: seed0/seen/00: is not in the folder" in refused.output


def test_templates():
    assert template("static").startswith("{caption}") and template("Look: {caption}") == "Look: {caption}"
    for bad in ("", "statik", "{caption} {caption}", "{caption} {x}"):
        with pytest.raises(InputError, match="template"):
            template(bad)


def test_sam2_follows_points_in_real_clips_and_the_mask_in_simulated_ones():
    clip = simulate(sample(0), 64, 3, 16)
    points = [{"positive": [[1.0, 50.0]]}, {"positive": [[30.0, 20.0]]}]
    asked = []

    class Spy(Sam2):
        def follow(self, frames, points):
            asked.append(points)
            return super().follow(frames, points)

    real = replace(clip, info={"points": points})
    bare = Clip(clip.frames, clip.fps)
    simulated, followed = track_clips([bare, bare], [clip, real], tracker=Spy(small_sam2()))
    assert asked == [points[1]] and followed.masks.shape == simulated.masks.shape == (3, 1, 64, 64)
    assert (simulated.dropped[0] == clip.dropped[0]).all(), "the true mask of frame 0 is the prompt"
