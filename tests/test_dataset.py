"""Datasets: resumed after an interruption, refused when mixed, read back as written."""

import re
from dataclasses import replace

import numpy as np
import pytest

from pisa_kit.clips import formats
from pisa_kit.clips.formats import write_clip
from pisa_kit.clips.resize import resample
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import plain, read_json, write_json
from pisa_kit.sim import corpora, datasets
from pisa_kit.sim.datasets import Recipe, read_dataset, write_dataset
from pisa_kit.sim.settings import Ranges, Video
from pisa_kit.study.presets import PRESETS, get_preset
from pisa_kit.study.settings import Preset

RECIPE = Recipe(count=4, seed=3, video=Video(size=32, frames=5))


def test_clips_read_back_as_simulated(tmp_path):
    clips = read_dataset(write_dataset(tmp_path / "data", RECIPE, workers=1))
    fresh = RECIPE.clip(2)
    for name in ("frames", "masks", "depth", "flow", "poses", "velocities", "contacts"):
        np.testing.assert_array_equal(getattr(clips[2], name), getattr(fresh, name))
    assert (clips[2].camera, clips[2].caption, clips[2].fps) == (fresh.camera, fresh.caption, 16)
    entry = read_json(tmp_path / "data" / "manifest.json")["clips"][2]
    assert entry["seed"] == 5 and entry["caption"] == fresh.caption


def test_interrupted_writing_continues(tmp_path, monkeypatch):
    whole = write_dataset(tmp_path / "whole", RECIPE, workers=1)
    write, calls = formats.write_clip, []

    def fail_third(clip, path, layout):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(clip, path, layout)

    monkeypatch.setattr(datasets, "write_clip", fail_third)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "broken", RECIPE, workers=1)
    with pytest.raises(InputError, match="lacks 4 clips"):
        read_dataset(tmp_path / "broken")
    assert len(list((tmp_path / "broken").glob("0*.npz"))) == 2
    write_dataset(tmp_path / "broken", RECIPE, workers=1)
    assert len(calls) == 5, "finished clips are not simulated again"
    for path in whole.iterdir():
        assert path.read_bytes() == (tmp_path / "broken" / path.name).read_bytes()


def test_two_workers_write_the_same_bytes_as_one(tmp_path):
    one, two = (write_dataset(tmp_path / str(n), RECIPE, workers=n) for n in (1, 2))
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


@pytest.mark.parametrize("layout", ["sim", "psft", "oro"])
def test_benchmark_layouts(tmp_path, layout):
    folder = write_dataset(tmp_path / layout, Recipe(2, layout=layout, video=Video(32, 5)), workers=1)
    clips = read_dataset(folder)
    assert len(clips) == 2 and clips[0].frames.shape == (5, 32, 32, 3)
    assert (clips[0].masks is None) == (layout == "psft")


def test_what_is_whole_is_read_without_waiting_for_others(tmp_path, monkeypatch):
    write_dataset(tmp_path, RECIPE, workers=1)
    monkeypatch.setattr(datasets, "locked", None)
    assert write_dataset(tmp_path, RECIPE, workers=1) == tmp_path


def test_a_corpus_of_pre_training_grows_by_whole_files_and_has_one_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "SHARD", 2)
    monkeypatch.setattr(corpora, "SHARD", 2)
    recipe = corpora.Corpus("anything", 2, video=Video(32, 5))
    for count, there in ((2, 2), (5, 5), (2, 5)):
        frames, *_ = corpora.read_corpus(datasets.kept_corpus(tmp_path, replace(recipe, count=count), 1))
        assert len(frames) == there
    for other in (replace(recipe, count=7), replace(recipe, first=9)):
        with pytest.raises(InputError, match="recipe.json: (count|first): differ"):
            datasets.kept_corpus(tmp_path, other, 1)


def test_nothing_is_dropped_behind_the_wall():
    recipe = Recipe(60, ranges=Ranges(height=(2.0, 3.0), move_camera=True))
    with pytest.raises(InputError, match=r"the object of seed \d+: is .* m away, behind the wall"):
        list(map(recipe.scene, range(60)))


def test_what_is_verified_is_made_again(tmp_path):
    folder = write_dataset(tmp_path, Recipe(2, layout="oro", video=Video(32, 5)), workers=1)
    kept = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    mask = folder / "00000" / "mask.npy"
    np.save(mask, np.zeros_like(np.load(mask)))
    one, other = (sorted((folder / name).glob("*.jpg"))[2] for name in ("00000", "00001"))
    other.write_bytes(one.read_bytes())
    write_dataset(tmp_path, Recipe(2, layout="oro", video=Video(32, 5)), workers=1, verify=True)
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_folder_with_anything_hidden_is_no_clip_to_replace(tmp_path):
    clip = RECIPE.clip(0)
    write_clip(clip, tmp_path / "clip", "sim")
    write_clip(clip, tmp_path / "clip", "sim")  # a clip is
    (tmp_path / "clip" / ".git").mkdir()
    with pytest.raises(InputError, match="exists and is not a clip's folder"):
        write_clip(clip, tmp_path / "clip", "sim")
    assert (tmp_path / "clip" / ".git").exists()


def test_another_recipe_in_the_same_folder_is_refused(tmp_path):
    write_dataset(tmp_path, RECIPE, workers=1)
    with pytest.raises(InputError, match=r"manifest.json: seed: differ .* Choose another folder"):
        write_dataset(tmp_path, Recipe(count=4, seed=9, video=RECIPE.video), workers=1)


def test_another_programs_manifest_is_refused(tmp_path):
    write_json(tmp_path / "manifest.json", {"name": "something else"})
    with pytest.raises(InputError, match="no manifest of a dataset"):
        write_dataset(tmp_path, RECIPE, workers=1)


def test_clips_of_another_simulator_are_not_mixed_in(tmp_path, monkeypatch):
    write_dataset(tmp_path, RECIPE, workers=1)
    key = RECIPE.key
    monkeypatch.setattr(datasets.artefacts, "code", lambda kind: "other")
    with pytest.raises(InputError, match="simulator: differ"):
        write_dataset(tmp_path, RECIPE, workers=1)
    assert RECIPE.key != key


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda folder: Recipe(count=1, seed=-1), "seed: is -1"),
        (lambda folder: Recipe(1, layout="oro", video=Video(32, 5, 8)), "fps: is 8, but the layout oro keeps no rate"),
        (lambda folder: Recipe(1, ranges=Ranges(distance=(5.0, 10.0))), "distance: reaches 10 m, where walls begin"),
        (lambda folder: Recipe(count=1, layout="real"), "layout: is 'real'"),
        (lambda folder: write_dataset(folder, RECIPE, workers=0), "workers: is 0"),
    ],
)
def test_bad_requests_write_nothing(tmp_path, call, message):
    with pytest.raises(InputError, match=message):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_resampling_keeps_time():
    clip = RECIPE.clip(0)
    half = resample(clip, 8)
    np.testing.assert_array_equal(half.frames, clip.frames[::2])
    np.testing.assert_allclose(half.times, clip.times[::2])
    assert resample(clip, 16) is clip
    np.testing.assert_array_equal(resample(clip, 48).frames[[0, 3, 6]], clip.frames[[0, 1, 2]])
    nearly = resample(replace(clip, fps=29.97), 30)
    assert nearly.fps == 30 and len(nearly) == len(clip), "as many frames, another rate"
    with pytest.raises(InputError, match="5 at 16 fps give 3 at 8 fps, not 9"):
        resample(clip, 8, frames=9)


def test_unwritable_output_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="output: cannot be written"):
        write_dataset(tmp_path / "file" / "data", RECIPE, workers=1)


def test_an_interrupted_json_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1} and list(tmp_path.iterdir()) == [path]


def test_unknown_preset_suggests_the_nearest():
    with pytest.raises(InputError, match="'ful' is unknown. Did you mean 'full'"):
        get_preset("ful")
    with pytest.raises(InputError, match="Did you mean 'smoke'"):
        get_preset("smoek")


def test_presets_are_checked_and_disjoint_from_training():
    for name, preset in PRESETS.items():
        assert preset.name == name and preset.data.test_seed >= 10_000_000
    with pytest.raises(InputError, match="preset empty: seeds: is"):
        Preset("empty", seeds=())
    with pytest.raises(InputError, match="count: is 0"):
        Recipe(count=0)


def test_results_become_plain_json():
    assert plain({"a": np.float64("nan"), "b": np.arange(2), 3: (np.int64(1), True)}) == {
        "a": None,
        "b": [0, 1],
        "3": [1, True],
    }


def test_any_number_of_a_preset_can_be_changed_by_name():
    changed = get_preset("mini psft.training.steps=200 data.ranges.height=(0.3,1.0) sampling_steps=8")
    assert changed.psft.training.steps == 200 and changed.data.ranges.height == (0.3, 1.0)
    assert changed.sampling_steps == 8 and changed.psft.clips == PRESETS["mini"].psft.clips
    assert changed.name.startswith("mini ") and changed != PRESETS["mini"]
    rate = get_preset("mini psft.training.learning_rate=1").psft.training.learning_rate
    assert rate == 1.0 and isinstance(rate, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("psft.training.step=1", "setting in Training: 'step' is unknown. Did you mean 'steps'"),
        ("psfd.clips=1", "setting in Preset: 'psfd' is unknown. Did you mean 'psft'"),
        ("psft.clips=many", "psft.clips: is 'many', not of the kind of 1024"),
        ("psft=3", "psft: is not one number"),
        ("psft.clips", "clips: is not one number"),
        ("psft.training.steps=-4", "steps: is -4. It should be greater than or equal to 1"),
    ],
)
def test_changes_that_make_no_sense_are_refused(change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        get_preset(f"mini {change}")
