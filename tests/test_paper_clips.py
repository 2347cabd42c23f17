"""The paper's training clips, psft and oro, instead of simulated drops, or mixed with them by share."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from pisa_kit.cli.study import study
from pisa_kit.clips.formats import write_clip
from pisa_kit.clips.resize import to_square
from pisa_kit.core.errors import InputError
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.study import paper_clips, runner
from pisa_kit.study.paper_clips import PROMPT, stage_of, theirs_of
from pisa_kit.study.run import open_run

CLIPS = 8


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Folders psft and oro as released: rgba_00000.jpg ..., and mask.npy with the dropped object last."""
    folder = tmp_path_factory.mktemp("released")
    for index in range(CLIPS):
        clip = simulate(sample(500 + index), 96, 20, 16)
        for layout in ("psft", "oro"):
            write_clip(clip, folder / layout / f"{index:05d}", layout)
    return folder


def store(tmp_path, **changes):
    run = open_run("smoke", tmp_path)
    preset = run.preset
    data = replace(preset.data, share=changes.pop("share", 1.0))
    psft, oro = (replace(getattr(preset, stage), source=str(changes.get(stage, ""))) for stage in ("psft", "oro"))
    return replace(run, preset=replace(preset, data=data, psft=replace(psft, clips=8), oro=replace(oro, clips=4)))


def test_the_layout_says_what_the_clips_are_for(released):
    assert stage_of(released / "psft") == "psft" and stage_of(released / "oro") == "oro"


def test_psft_learns_from_the_papers_clips_with_its_prompt(released, tmp_path):
    frames, masks, captions = store(tmp_path, psft=released / "psft").drops(0)
    assert frames.shape == (8, 17, 64, 64, 3) and set(captions) == {PROMPT} and not masks.any()
    assert len({clip.tobytes() for clip in frames}) == 8, "each clip once"
    first = to_square(simulate(sample(500), 96, 20, 16), 64).frames[0].astype(float)
    assert min(np.abs(clip[0] - first).mean() for clip in frames) < 4, "as it was, but for JPEG"


def test_reward_tuning_gets_the_dropped_objects_masks(released, tmp_path):
    frames, masks, _ = store(tmp_path, oro=released / "oro").drops(0, "oro")
    assert frames.shape == (4, 17, 64, 64, 3) and masks[:, 0].any((1, 2)).all()
    fallen = [np.argwhere(mask[-1]).mean(0)[0] - np.argwhere(mask[0]).mean(0)[0] for mask in masks]
    assert min(fallen) > 3, "it falls"


def test_mixed_by_share_and_varied_alone(released, tmp_path):
    run = store(tmp_path, psft=released / "psft", share=0.5)
    captions = run.drops(0)[2]
    assert captions.count(PROMPT) == 4 and captions[:4].count(PROMPT) in (1, 2, 3), "shuffled"
    ours = store(tmp_path).drops(0)[2]
    assert sorted(captions)[:4] == sorted(ours[:4]), "the rest are our first drops"
    assert run.drops(0)[2] == captions
    assert run._latents_path(0, "psft", run.base()) != store(tmp_path)._latents_path(0, "psft", run.base())


def test_a_mixed_corpus_is_named_after_the_simulated_half_too(released, tmp_path, monkeypatch):
    run = store(tmp_path, psft=released / "psft", share=0.5)
    low = replace(run.preset.data, ranges=replace(run.preset.data.ranges, height=(0.5, 0.6)))
    other = replace(run, preset=replace(run.preset, data=low))
    first, second = run.drops(0)[0], other.drops(0)[0]
    assert run._drops_folder(0, "psft") != other._drops_folder(0, "psft") and (first != second).any()
    monkeypatch.setattr(paper_clips, "read_corpus", None)
    assert run._drops_folder(0, "psft").is_dir(), "nothing is read again where all files are there"


def test_rewards_refuse_clips_without_masks(released, tmp_path):
    partly = tmp_path / "partly"
    shutil.copytree(released / "oro", partly)
    for mask in sorted(partly.glob("*/mask.npy"))[1:]:
        mask.unlink()
    for source in (released / "psft", partly):
        with pytest.raises(InputError, match="masks: is missing"):
            store(tmp_path, oro=source).drops(0, "oro")


def test_two_sources_of_one_stage_are_refused(released, tmp_path):
    with pytest.raises(InputError, match="Name one source for oro: .*oro or .*oro"):
        study("smoke", train=[released / "oro"] * 2, runs=tmp_path)


def test_a_replaced_archive_runs_the_notebooks_again(tmp_path):
    archive = tmp_path / "oro.zip"
    archive.write_bytes(b"one")
    run, [path, *_] = store(tmp_path, oro=archive), runner.notebooks()
    first = runner._fingerprint(path, run)
    assert runner._fingerprint(path, run) == first
    archive.write_bytes(b"two")
    assert runner._fingerprint(path, run) != first


def test_latents_keep_the_papers_prompt(released, tmp_path):
    run = store(tmp_path, psft=released / "psft")
    text = run.latents(0)["text"][:]
    assert text.shape[0] == 8 and (text == text[0]).all(), "not varied"


def test_too_few_short_or_impossible_clips_are_refused(released, tmp_path):
    few = store(tmp_path, psft=released / "psft")
    few = replace(few, preset=replace(few.preset, psft=replace(few.preset.psft, clips=9)))
    with pytest.raises(InputError, match="holds 8 clips, 9 are asked for"):
        few.drops(0)
    long = store(tmp_path, psft=released / "psft")
    video = replace(long.preset.data.video, frames=33)
    long = replace(long, preset=replace(long.preset, data=replace(long.preset.data, video=video)))
    with pytest.raises(InputError, match="frames: 20 at 16 fps"):
        long.drops(0)
    for share in (0.0, 1.5):
        with pytest.raises(InputError, match="share"):
            theirs_of(8, share)
