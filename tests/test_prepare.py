"""PisaBench's layouts go from archive to scores; what cannot be prepared is named, and nothing is done twice."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from test_adapters import small_sam2

from pisa_kit.clips import formats
from pisa_kit.clips.formats import write_clip
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import DATA, write_json
from pisa_kit.metrics.evaluation import evaluate_videos
from pisa_kit.models.embedded import load
from pisa_kit.models.generation import Protocol, generate, read_videos
from pisa_kit.perception import prepare as module
from pisa_kit.perception.footage import import_video
from pisa_kit.perception.prepare import Settings, lines, prepare, read_prepared
from pisa_kit.perception.trackers import Sam2
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate

EMBEDDED = Settings(size=64, fps=16, frames=17)


def archive(folder, path):
    with zipfile.ZipFile(path, "w") as packed:
        for file in sorted(folder.rglob("*")):
            packed.write(file, file.relative_to(folder.parent))
    return path


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A real.zip with one phone clip, as released: frames, movie, clip_info.json with points, no masks."""
    folder = tmp_path_factory.mktemp("real") / "real"
    import_video(
        DATA / "balldrop_120fps.mp4", folder / "ball", 120, (28, 74), start=60, end=212, caption="A ball falls."
    )
    return archive(folder, folder.parent / "real.zip")


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    """A sim.zip with two clips of 128 pixels per split."""
    folder = tmp_path_factory.mktemp("sim") / "sim"
    for split in ("seen", "unseen"):
        for index in range(2):
            clip = simulate(sample(index, objects=split, backgrounds=split), 128, 17, 16)
            write_clip(clip, folder / split / f"{index:02d}", "sim")
    return archive(folder, folder.parent / "sim.zip")


@pytest.mark.parametrize("name", ["real", "sim"])
def test_from_archive_to_scores(name, request, tmp_path):
    found = prepare(request.getfixturevalue(name), tmp_path / "clips", EMBEDDED)
    truths = read_prepared(tmp_path / "clips")
    assert lines(found)[0] == f"prepared {len(truths)} of {len(truths)}"
    for truth in truths:
        assert truth.frames.shape == (17, 64, 64, 3) and truth.fps == 16 and truth.dropped[0].any() and truth.caption
    generate(load(), Protocol("embedded", steps=1), truths, 0, tmp_path / "films")
    films, missing = read_videos(tmp_path / "films", truths)
    verdict = evaluate_videos(truths, films, workers=1)
    assert len(verdict.table) == len(truths) and not verdict.failures and not missing
    assert np.isfinite(verdict.table[["fixed_l2", "background_psnr"]]).all(axis=None)


def test_true_masks_are_used_as_they_are(sim, tmp_path):
    prepare(f"{sim}/sim/unseen", tmp_path, Settings(size=128))
    clip = simulate(sample(1, objects="unseen", backgrounds="unseen"), 128, 17, 16)
    np.testing.assert_array_equal(read_prepared(tmp_path)[1].masks, clip.masks)


def test_a_second_call_does_nothing_again_and_other_settings_are_refused(sim, tmp_path, monkeypatch):
    prepare(sim, tmp_path, EMBEDDED)
    one = tmp_path / "seen" / "00.npz"
    one.unlink()
    made = []
    real_write = formats.write_clip
    monkeypatch.setattr(module, "write_clip", lambda clip, path: made.append(path) or real_write(clip, path))
    prepare(sim, tmp_path, EMBEDDED)
    assert made == [one]
    with pytest.raises(InputError, match="size.*differ"):
        prepare(sim, tmp_path, Settings(size=32))


def test_failures_are_named_and_the_rest_is_prepared(tmp_path):
    good = simulate(sample(0), 64, 17, 16)
    write_clip(good, tmp_path / "in" / "good", "sim")
    write_clip(good, tmp_path / "in" / "bare", "psft")
    short = good.select(np.arange(5), 16)
    write_clip(short, tmp_path / "in" / "short", "sim")
    write_clip(good, tmp_path / "in" / "tab\tx.npz")
    for _ in range(2):  # a name that cannot be used refuses the clip, not the folder
        found = prepare(tmp_path / "in", tmp_path / "out", EMBEDDED)
    text = "\n".join(lines(found))
    assert "control characters" in found["clips"]["tab\tx"]["error"]
    assert "prepared 1 of 4" in text and "failed: bare" in text and "points: are missing" in text
    assert "failed: short" in text and [clip.name for clip in read_prepared(tmp_path / "out")] == ["good"]
    for name, other in (("tab\tx.npz", "tab.npz"), ("good", "fine")):
        (tmp_path / "in" / name).rename(tmp_path / "in" / other)
    again = prepare(tmp_path / "in", tmp_path / "out", EMBEDDED)
    assert sorted(again["clips"]) == ["bare", "fine", "short", "tab"], "what is gone is forgotten"
    with pytest.raises(InputError, match="output: is the source itself, or in it"):
        prepare(tmp_path / "in", tmp_path / "in" / "out", EMBEDDED)
    assert [clip.name for clip in read_prepared(tmp_path / "out")] == ["fine", "tab"]
    (tmp_path / "in" / "tab").mkdir()
    with pytest.raises(InputError, match="tab: is the name of two clips"):
        prepare(tmp_path / "in", tmp_path / "out", EMBEDDED)


def test_lost_frames_are_recorded(tmp_path, monkeypatch):
    clip = simulate(sample(0), 64, 17, 16)
    masks = clip.masks.copy()
    masks[5:8, -1] = False
    write_clip(replace(clip, masks=masks), tmp_path / "in" / "a", "sim")
    found = prepare(tmp_path / "in", tmp_path / "out", EMBEDDED)
    assert found["clips"]["a"]["lost"] == [5, 6, 7] and "lost in 3 of 17 frames: a" in lines(found)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == found


def test_sam2_follows_the_annotated_points(real, tmp_path, monkeypatch):
    asked = []

    class Spy(Sam2):
        def follow(self, frames, points):
            asked.append(points)
            track = super().follow(frames, points)
            assert track.masks.shape == frames.shape[:3]
            track.masks[0, 8:12, 8:12] = True  # random weights may not find it
            return track

    monkeypatch.setattr(module, "load_sam2", lambda weights, device: Spy(small_sam2()))
    found = prepare(real, tmp_path, replace(EMBEDDED, tracker="sam2"))
    assert len(asked) == 1 and len(asked[0]["positive"]) == 1
    assert found["clips"]["ball"]["frames"] == 17
    x, y = asked[0]["positive"][0]
    assert 0 < x < 64 and 0 < y < 64, "points are scaled to the small frame"


def test_without_weights_nothing_is_begun_and_the_message_names_the_way_out(real, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="pisa download sam2"):
        prepare(real, tmp_path / "out", replace(EMBEDDED, tracker="sam2", weights=str(tmp_path / "none")))
    assert not (tmp_path / "out").exists()


def test_a_clip_whose_first_frame_lacks_the_object_fails_by_name(tmp_path):
    clip = simulate(sample(0), 64, 17, 16)
    masks = clip.masks.copy()
    masks[0, -1] = False
    write_clip(replace(clip, masks=masks), tmp_path / "in" / "a", "sim")
    found = prepare(tmp_path / "in", tmp_path / "out", EMBEDDED)
    assert "frame 0: does not show the dropped object" in found["clips"]["a"]["error"]


def test_folders_of_another_kind_are_refused(tmp_path):
    write_json(tmp_path / "manifest.json", {"recipe": 1})
    for call in (lambda: read_prepared(tmp_path), lambda: prepare(DATA / "balldrop_120fps.mp4", tmp_path, EMBEDDED)):
        with pytest.raises(InputError, match="not made by `pisa prepare`"):
            call()
