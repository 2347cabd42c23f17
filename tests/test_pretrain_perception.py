"""What the perception nets learn from: true and reconstructed frames with exact targets, the trackers' halves apart."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pisa_kit.core.errors import InputError
from pisa_kit.models import codec
from pisa_kit.models.codec import make_autoencoder
from pisa_kit.perception.depth import load_depth
from pisa_kit.perception.flow import load_flow
from pisa_kit.perception.tensors import to_video
from pisa_kit.perception.trackers import NETS, load_tracker
from pisa_kit.sim import corpora
from pisa_kit.training import pretrain_perception
from pisa_kit.training.settings import Training

torch.set_num_threads(1)
SETTINGS = Training(steps=1, batch=4, learning_rate=1e-3, warmup=1, log_every=1)
CLIPS = 6
FIRST = 1_000_300  # scene seed of clips in which what a mask shows moves


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    original, corpora.SHARD = corpora.SHARD, 3
    folder = tmp_path_factory.mktemp("perception")
    make_autoencoder().save_pretrained(folder / "vae")
    corpora.write_corpus(folder / "corpus_truth", corpora.Corpus("anything", CLIPS, FIRST, truth=True), workers=1)
    yield folder
    corpora.SHARD = original


@pytest.fixture(scope="module")
def pools(folder):
    return {name: pretrain_perception._perception_pools(folder, CLIPS, 1, name) for name in corpora.TRUTH}


def test_reconstructions_are_kept_and_tied_to_the_weights(folder):
    path = folder / "corpus_truth"
    frames, decoded = corpora.read_corpus(path)[0], pretrain_perception.reconstructed(path, folder / "vae")
    assert decoded.shape == frames.shape and decoded.dtype == np.uint8
    assert np.array_equal(decoded[4:], codec.reconstruct(make_autoencoder(), frames[4:]))
    kept = sorted(folder.glob("corpus_truth_decoded_*/*.npz"))
    before = [file.stat().st_mtime_ns for file in kept]
    assert len(kept) == 2 and np.array_equal(pretrain_perception.reconstructed(path, folder / "vae"), decoded)
    assert [file.stat().st_mtime_ns for file in kept] == before
    kept[1].unlink()
    assert np.array_equal(pretrain_perception.reconstructed(path, folder / "vae"), decoded), (
        "a missing file is made again"
    )
    assert kept[0].stat().st_mtime_ns == before[0]
    make_autoencoder(seed=1).save_pretrained(folder / "other")
    assert not np.array_equal(pretrain_perception.reconstructed(path, folder / "other"), decoded)


@pytest.mark.parametrize("batch", ["_tracker_batch", "_flow_batch", "_depth_batch"])
def test_batches_depend_on_the_step_and_split_over_processes(pools, batch):
    def make(*step):
        kind = "depth" if "depth" in batch else "flow"
        return getattr(pretrain_perception, batch)(pools[kind], SETTINGS, *step)

    whole, again, other = make(7, 0, 1), make(7, 0, 1), make(8, 0, 1)
    halves = [make(7, process, 2) for process in (0, 1)]
    for name, value in whole.items():
        assert len(value) == SETTINGS.batch and torch.equal(value, again[name]) and not torch.equal(value, other[name])
        assert torch.equal(torch.stack([half[name] for half in halves], 1).flatten(0, 1), value)


def test_half_of_a_batch_is_reconstructed(pools, monkeypatch):
    monkeypatch.setattr(pretrain_perception, "BLUR", 0)
    monkeypatch.setattr(pretrain_perception, "NOISE", 0)
    pictures = pretrain_perception._depth_batch(pools["depth"], SETTINGS, 3, 0, 1)["picture"]
    for index, picture in enumerate(pictures):
        known = [to_video(pool.frames).transpose(1, 2).flatten(0, 1) for pool in pools["depth"]]
        nearest = [
            min(float((frames - each).abs().max()) for each in (picture, picture.flip(-1)) for frames in pool.split(1))
            for pool in known
        ]
        assert nearest[index % 2] == 0 < nearest[1 - index % 2]


def test_targets_belong_to_the_pictures(pools):
    settings = Training(steps=1, batch=24, learning_rate=1)
    batches = [pretrain_perception._flow_batch(pools["flow"], settings, step, 0, 1) for step in range(24)]
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    names, moved = ("first", "second", "masks", "flow"), []
    true = (torch.cat([batch[name][::2] for batch in batches]) for name in names)  # the others are the autoencoder's
    for first, second, mask, flow in zip(*true, strict=True):
        inside = mask & (flow.square().sum(0) > 0.7**2)
        if inside.sum() < 10:
            continue
        place = torch.stack([columns + flow[0], rows + flow[1]], -1)[None] / 31.5 - 1
        there = F.grid_sample(second[None], place, align_corners=True)[0]
        moved.append([(image - first)[:, inside].abs().mean() for image in (there, second)])
    followed, unmoved = np.array(moved).T
    assert len(moved) > 3 and followed.mean() < 0.6 * unmoved.mean(), "following the flow finds the same colours"
    depth = pretrain_perception._depth_batch(pools["depth"], SETTINGS, 0, 0, 1)
    assert depth["depth"].shape == (4, 64, 64) and 0.5 < depth["depth"].min() < depth["depth"].max() < 10


def test_mirrored_flow_turns_its_sign(pools):
    settings = Training(steps=1, batch=16, learning_rate=1)
    batch = pretrain_perception._flow_batch(pools["flow"], settings, 0, 0, 1)
    turn = pretrain_perception._windows(pools["flow"], 2, settings, 0, 0, 1)[-1]
    known = torch.from_numpy(pools["flow"][0].truth).float().flatten(0, 1).permute(0, 3, 1, 2)
    assert set(turn.tolist()) == {-1, 1}
    for flow, sign in zip(batch["flow"], turn, strict=True):
        unmirrored = torch.stack([-flow[0], flow[1]]).flip(-1) if sign < 0 else flow
        assert (known == unmirrored).flatten(1).all(1).any(), "a flow of the corpus"


def test_the_two_trackers_learn_from_different_clips_and_ship(folder, monkeypatch):
    used, original = {}, pretrain_perception._train

    def spy(*arguments):
        used[arguments[-2]] = arguments[-1]
        return original(*arguments)

    monkeypatch.setattr(pretrain_perception, "_train", spy)
    for name in NETS:
        made = pretrain_perception.pretrain_tracker(folder, name, CLIPS, SETTINGS, workers=1, decoded=CLIPS)
        loaded = load_tracker(name, folder)
        assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in made.state_dict().items())
    for pool in range(2):
        judged, rewarded = ([set(used[name][pool].clips) for name in NETS][i] for i in range(2))
        assert judged and rewarded and {clip % 2 for clip in judged} == {0} and {clip % 2 for clip in rewarded} == {1}
    with pytest.raises(InputError, match="'juge' is unknown. Did you mean 'judge'"):
        pretrain_perception.pretrain_tracker(folder, "juge", CLIPS, SETTINGS)


def test_flow_and_depth_ship(folder):
    for pretrain, load in (
        (pretrain_perception.pretrain_flow, load_flow),
        (pretrain_perception.pretrain_depth, load_depth),
    ):
        made = pretrain(folder, CLIPS, SETTINGS, workers=1).state_dict()
        assert all(torch.equal(value, made[key]) for key, value in load(folder).state_dict().items())


def test_without_an_autoencoder_nothing_is_simulated(tmp_path):
    for stage in (
        pretrain_perception.pretrain_flow,
        pretrain_perception.pretrain_depth,
        lambda path: pretrain_perception.pretrain_tracker(path, "judge"),
    ):
        with pytest.raises(InputError, match="does not exist. Run `pisa pretrain autoencoder` first"):
            stage(tmp_path)
    assert not list(tmp_path.iterdir())
