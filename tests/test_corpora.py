"""Corpora are what they say, are made once, and never hold a held-out clip; the diet is dense in motion."""

import numpy as np
import pytest

from pisa_kit.core.errors import InputError
from pisa_kit.sim import corpora
from pisa_kit.sim.corpora import KINDS, Corpus, read_corpus, read_truth, vary_captions, write_corpus
from pisa_kit.sim.diet import diet_clip, recolour
from pisa_kit.sim.motion import KINDS as VERBS
from pisa_kit.sim.scenes import COLOURS, sample
from pisa_kit.sim.settings import Ranges, Video
from pisa_kit.study.presets import PRESETS


@pytest.fixture(scope="module", autouse=True)
def short_shards():
    original, corpora.SHARD = corpora.SHARD, 3
    yield
    corpora.SHARD = original


@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_is_whole_and_made_once(kind, tmp_path):
    folder = write_corpus(tmp_path, Corpus(kind, 5), workers=1)
    frames, masks, captions = read_corpus(folder)
    assert frames.shape == (5, 17, 64, 64, 3) and masks.shape == (5, 17, 64, 64) and len(captions) == 5
    assert masks.any((2, 3)).mean() > 0.8
    before = [path.stat().st_mtime_ns for path in corpora.shard_files(folder)]
    write_corpus(tmp_path, Corpus(kind, 5), workers=1)
    assert [path.stat().st_mtime_ns for path in corpora.shard_files(folder)] == before and len(before) == 2
    assert np.array_equal(frames[4], Corpus(kind, 5).clip(4).frames)


def test_half_of_pairs_drop_two_things_and_noon_is_noon():
    def falling(clip):
        return sum(clip.poses[0, :, 2] - clip.poses[8, :, 2] > 0.1)

    assert [falling(Corpus("pairs", 4).clip(index)) for index in range(4)] == [1, 2, 1, 2]
    scenes = [Corpus("noon", 3).clip(index).info["scene"] for index in range(3)]
    assert {tuple(scene["sun"]) for scene in scenes} == {(0.0, 0.0, -1.0)}


def test_truth_is_the_simulators(tmp_path):
    recipe = Corpus("anything", 4, truth=True)
    folder = write_corpus(tmp_path / "with", recipe, workers=1)
    depth, flow = (read_truth(folder, name) for name in corpora.TRUTH)
    clip = recipe.clip(3)
    assert depth.dtype == flow.dtype == np.float16
    assert np.abs(depth[3] / clip.depth - 1).max() < 1e-3 and np.abs(flow[3] - clip.flow).max() < 0.01
    write_corpus(tmp_path / "without", Corpus("drops", 3), workers=1)
    with pytest.raises(InputError, match="flow: is not in the file"):
        read_truth(tmp_path / "without", "flow")


def test_training_clips_are_never_held_out():
    assert corpora.CORPUS_SEED + 1_000_000 < min(preset.data.test_seed for preset in PRESETS.values())


def test_the_diet_is_dense_in_motion_and_names_what_moves():
    clips = [diet_clip(seed, Ranges(), Video()) for seed in range(30)]
    moving = [(np.ptp(clip.frames.astype(int), axis=0).max(-1) > 40).mean() for clip in clips]
    drops = [Corpus("drops", 30).clip(index).frames.astype(int) for index in range(30)]
    assert np.mean(moving) > 0.05
    assert np.mean(moving) > np.mean([(np.ptp(frames, axis=0).max(-1) > 40).mean() for frames in drops])
    said = [sentence.split(maxsplit=3)[3] for clip in clips for sentence in clip.caption.rstrip(".").split(". ")]
    assert len({words.split()[0] for words in said} & set(VERBS)) >= 6
    assert any(words.startswith("darts up ") for words in said), "the caption names the way"
    panned = [clip for clip in clips if "camera pans" in clip.caption]
    assert panned and all(clip.frames.shape == (17, 64, 64, 3) for clip in panned)
    shifts = [np.abs(clip.frames[0].astype(int) - clip.frames[-1])[:8].mean() for clip in panned]
    assert min(shifts) > 0.5 and np.mean(shifts) > 1, "the background moves, and can be seen to where it is not plain"
    again = diet_clip(7, Ranges(), Video())
    assert np.array_equal(again.frames, clips[7].frames) and again.caption == clips[7].caption


def test_recolour_leaves_the_palette_and_nothing_else():
    scene = sample(3)
    changed = recolour(scene, 3)
    assert [thing.position for thing in changed.things] == [thing.position for thing in scene.things]
    palette = np.array(list(COLOURS["seen"].values()))
    assert np.abs(palette - changed.dropped.rgb).max(1).min() > 0.05
    assert recolour(scene, 3) == changed


def test_varied_captions_keep_the_verbs_alone():
    captions = ["A red mug falls.", "An orange l-block darts up left. The camera pans left."] * 200
    varied = vary_captions(captions, seed=0, share=0.7)
    assert varied == vary_captions(captions, seed=0, share=0.7) != vary_captions(captions, seed=1)
    verbs = lambda caption: [sentence.split(maxsplit=3)[3] for sentence in caption.rstrip(".").split(". ")]  # noqa: E731
    assert list(map(verbs, varied)) == list(map(verbs, captions))
    assert all(caption.endswith("The camera pans left.") for caption in varied[1::2])
    kept = sum(one == other for one, other in zip(varied, captions, strict=True)) / len(captions)
    assert 0.2 < kept < 0.45
    assert vary_captions(captions, seed=0, share=0) == captions
    two = ["An orange l-block darts up left. A red box hovers. The camera pans left."] * 20
    assert vary_captions(two, seed=0, share=1) == two, "the words say which one goes where"
