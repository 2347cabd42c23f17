"""Generation: resumed, described, refused when mixed; videos from elsewhere matched by name."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_pipelines
import torch

from pisa_kit.clips.formats import read_clip, write_clip
from pisa_kit.clips.media import write_mp4
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import read_json
from pisa_kit.models import generation
from pisa_kit.models.embedded import assemble
from pisa_kit.models.generation import Protocol, generate, read_videos
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate

torch.set_num_threads(1)
PROTOCOL = Protocol("tiny", steps=2, frames=5)


@pytest.fixture(scope="module")
def pipeline():
    return assemble()


@pytest.fixture(scope="module")
def truths():
    return [simulate(sample(seed), 64, 5, 16, name=f"{seed:05d}") for seed in range(3)]


def test_videos_are_described_and_do_not_depend_on_the_batch(pipeline, truths, tmp_path):
    together = generate(pipeline, PROTOCOL, truths, 0, tmp_path / "three", batch=3)
    alone = generate(pipeline, PROTOCOL, truths, 0, tmp_path / "one", batch=1)
    for one, other, truth in zip(together, alone, truths, strict=True):
        assert one.frames.shape == (5, 64, 64, 3) and (one.name, one.caption) == (truth.name, truth.caption)
        assert np.abs(one.frames.astype(int) - other.frames).max() <= 1
        assert one.masks is None
    assert read_json(tmp_path / "three" / "manifest.json") == {
        "model": "tiny",
        "revision": "",
        "steps": 2,
        "guidance": 1.0,
        "size": 64,
        "frames": 5,
        "fps": 16,
        "template": "{caption}",
        "seed": 0,
    }
    other_seed = generate(pipeline, PROTOCOL, truths[:1], 1, tmp_path / "seed", batch=1)
    assert (other_seed[0].frames != together[0].frames).any()


def test_interrupted_generation_continues(pipeline, truths, tmp_path, monkeypatch):
    generate(pipeline, PROTOCOL, truths[:2], 0, tmp_path)
    made = []
    original = generation._sample_group
    monkeypatch.setattr(
        generation,
        "_sample_group",
        lambda p, q, group, s: made.extend(t.name for t in group) or original(p, q, group, s),
    )
    assert len(generate(pipeline, PROTOCOL, truths, 0, tmp_path, batch=2)) == 3
    assert made == ["00002"], "batches that are there are not made again"


SCRIPT = """
import os, sys
sys.path.insert(0, {tests!r})
import test_generators as t
made = []
def one(pipeline, protocol, group, seeds, original=t.generation._sample_group):
    made.append(group)
    if {killed} and len(made) > 1:
        os.kill(os.getpid(), 9)
    return original(pipeline, protocol, group, seeds)
t.generation._sample_group = one
truths = [t.simulate(t.sample(seed), 64, 5, 16, name=f"{{seed:05d}}") for seed in range(3)]
t.generate(t.assemble(), t.PROTOCOL, truths, 0, {folder!r}, batch=1)
"""


def test_processes_make_the_same_bytes_as_one_and_a_killed_one_loses_nothing(pipeline, truths, tmp_path):
    generate(pipeline, PROTOCOL, truths, 0, tmp_path / "one", batch=1)
    tests, folder = str(Path(__file__).parent), tmp_path / "two"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for killed in (True, False):
        (tmp_path / "script.py").write_text(SCRIPT.format(tests=tests, killed=killed, folder=str(folder)))
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(tmp_path / "script.py")]
        done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=300, env=environment)
        made = sorted(path.name for path in folder.glob("*.npz"))
        if killed:
            assert done.returncode != 0 and "00000.npz" in made and len(made) < 3
        else:
            assert done.returncode == 0, done.stderr[-2000:]
    assert made == sorted(path.name for path in (tmp_path / "one").glob("*.npz"))
    for path in folder.glob("*.npz"):
        assert (read_clip(path).frames == read_clip(tmp_path / "one" / path.name).frames).all()


def test_a_batch_is_the_same_clips_after_an_interruption(pipeline, truths, tmp_path):
    whole = generate(pipeline, PROTOCOL, truths, 0, tmp_path, batch=2)
    (tmp_path / "00001.npz").unlink()
    again = generate(pipeline, PROTOCOL, truths, 0, tmp_path, batch=2)
    assert all((one.frames == other.frames).all() for one, other in zip(whole, again, strict=True))


def test_another_protocol_in_the_same_folder_is_refused(pipeline, truths, tmp_path):
    generate(pipeline, PROTOCOL, truths[:1], 0, tmp_path)
    with pytest.raises(InputError, match="manifest.json: steps: differ"):
        generate(pipeline, replace(PROTOCOL, steps=3), truths[:1], 0, tmp_path)


def test_frames_and_size_must_fit_the_strides(pipeline, truths, tmp_path):
    in_time = tiny_pipelines.wan(clean_first=True)
    with pytest.raises(InputError, match="frames: is 16, the model needs a multiple of 4 plus 1. Use 13 or 17"):
        generate(in_time, replace(PROTOCOL, frames=16), truths, 0, tmp_path)
    with pytest.raises(InputError, match="size: is 72, the model needs a multiple of 16. Use 64"):
        generate(pipeline, replace(PROTOCOL, size=72), truths, 0, tmp_path)


def test_videos_from_elsewhere_are_matched_by_name_and_missing_ones_named(truths, tmp_path):
    for truth in truths[:2]:
        write_mp4(tmp_path / f"{truth.name}.mp4", truth.frames, 16)
    found, missing = read_videos(tmp_path, truths)
    assert [clip.frames.shape for clip in found] == [(5, 64, 64, 3)] * 2 and missing == [("00002", "has no video")]
    (tmp_path / "00002.mp4").write_bytes(b"no video")
    found, failures = read_videos(tmp_path, truths)
    assert len(found) == 2 and failures[0][0] == "00002" and "00002.mp4" in failures[0][1]


def test_frame_folders_from_elsewhere_need_their_rate(truths, tmp_path):
    for truth in truths[:2]:
        write_clip(truth, tmp_path / truth.name, "psft")
    found, failures = read_videos(tmp_path, truths[:2], fps=32)
    assert not failures and [len(clip) for clip in found] == [3, 3], "brought to the truth's 16 fps"


def test_a_video_of_another_picture_is_not_taken_for_this_one(pipeline, truths, tmp_path):
    generate(pipeline, PROTOCOL, truths[:1], 0, tmp_path)
    other = replace(truths[0], frames=truths[1].frames)
    with pytest.raises(InputError, match="first frame, caption: are not those"):
        generate(pipeline, PROTOCOL, [other], 0, tmp_path)
    with pytest.raises(InputError, match="first frame, caption"):
        generate(pipeline, PROTOCOL, [replace(truths[0], caption="A cat rises.")], 0, tmp_path)


def test_too_little_gpu_memory_is_said(pipeline, truths, tmp_path, monkeypatch):
    def large(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(generation, "sample", large)
    with pytest.raises(InputError, match="GPU memory: ran out with 3 videos of 5 frames at 64 px. Film fewer"):
        generate(pipeline, PROTOCOL, truths, 0, tmp_path)
