"""Pre-training: the corpus is what it says, batches depend on the step alone, the stages end in a stock autoencoder."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from pisa_kit.core.storage import read_json, read_npz
from pisa_kit.models.codec import CHANNELS
from pisa_kit.sim import corpora
from pisa_kit.sim.scenes import COLOURS, sample
from pisa_kit.study.presets import PRESETS
from pisa_kit.training import pretrain
from pisa_kit.training.settings import Training

torch.set_num_threads(1)
STAGES = (
    pretrain.Stage(1, Training(steps=2, batch=4, learning_rate=1e-3, warmup=1, log_every=1)),
    pretrain.Stage(5, Training(steps=1, batch=4, learning_rate=1e-3, warmup=1, log_every=1), object_weight=9.0),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    original, corpora.SHARD = corpora.SHARD, 3
    yield tmp_path_factory.mktemp("pretrain")
    corpora.SHARD = original


@pytest.fixture(scope="module")
def corpus(folder):
    return corpora.read_corpus(corpora.corpus(folder / "corpus_autoencoder", 6, drops=0.5, any_colour=0.5, workers=1))


def test_corpus_is_whole_and_never_held_out(corpus, folder):
    frames, masks, captions = corpus
    assert frames.shape == (6, 17, 64, 64, 3) and masks.shape == (6, 17, 64, 64) and len(captions) == 6
    assert masks.any((2, 3)).mean() > 0.9
    assert corpora.CORPUS_SEED + 1_000_000 < min(preset.data.test_seed for preset in PRESETS.values())
    shard = folder / "corpus_autoencoder" / "0001.npz"
    before = shard.stat().st_mtime_ns
    corpora.corpus(folder / "corpus_autoencoder", 6, drops=0.5, any_colour=0.5, workers=1)
    assert shard.stat().st_mtime_ns == before, "finished shards are kept"


def test_recolour_leaves_the_palette_and_nothing_else():
    scene = sample(3)
    changed = corpora.recolour(scene, 3)
    assert [thing.position for thing in changed.things] == [thing.position for thing in scene.things]
    palette = np.array(list(COLOURS["seen"].values()))
    assert np.abs(palette - changed.dropped.rgb).max(1).min() > 0.05
    assert corpora.recolour(scene, 3) == changed


def test_batches_depend_on_the_step_and_split_over_processes(corpus):
    frames, masks, _ = corpus
    make = lambda step, process, processes: pretrain._autoencoder_batch(  # noqa: E731
        frames, masks, STAGES[1], step, process, processes
    )
    whole, again = make(7, 0, 1), make(7, 0, 1)
    assert whole["video"].shape == (4, 3, 5, 64, 64) and whole["video"].abs().max() <= 1
    assert torch.equal(whole["video"], again["video"]) and not torch.equal(whole["video"], make(8, 0, 1)["video"])
    assert whole["weight"].unique().tolist() == [1.0, 9.0]
    for name in ("video", "weight"):
        halves = [make(7, process, 2)[name] for process in (0, 1)]
        assert torch.equal(torch.stack(halves, 1).flatten(0, 1), whole[name])


def test_stages_end_in_a_stock_autoencoder_and_are_not_repeated(corpus, folder):
    model = pretrain.pretrain_autoencoder(folder, clips=6, stages=STAGES, workers=1)
    loaded = AutoencoderKLWan.from_pretrained(folder / "vae")
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, loaded.state_dict()[name]), name
    log = folder / "autoencoder_1" / "log.jsonl"
    before = log.read_text()
    again = pretrain.pretrain_autoencoder(folder, clips=6, stages=STAGES, workers=1)
    assert log.read_text() == before
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_decoder_stage_leaves_the_latents_alone(tmp_path):
    settings = Training(steps=1, batch=4, learning_rate=1e-2, warmup=1, log_every=1)
    made = [pretrain.Stage(5, settings), pretrain.Stage(5, settings, decoder_only=True)]
    before = pretrain.pretrain_autoencoder(tmp_path, clips=6, stages=made[:1], workers=1).state_dict()
    after = pretrain.pretrain_autoencoder(tmp_path, clips=6, stages=made, workers=1).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)


def test_transformer_learns_generic_motion_on_the_trained_autoencoder(corpus, folder):
    if not (folder / "vae").exists():
        pretrain.pretrain_autoencoder(folder, clips=6, stages=STAGES, workers=1)
    settings = Training(steps=2, batch=4, learning_rate=1e-3, warmup=1, log_every=1)
    first = corpora.CORPUS_SEED
    diets = (
        pretrain.Diet(settings, first, any_colour=0.0),
        pretrain.Diet(settings, first + 50, any_colour=1.0, varied=1.0),
    )
    pipeline = pretrain.pretrain_transformer(folder, clips=6, diets=diets, workers=1)
    cached = read_npz(folder / "latents_generic_2.npz")
    assert cached["latents"].shape == (6, CHANNELS, 9, 8, 8)
    assert abs(cached["latents"].mean()) < 0.5 and 0.5 < cached["latents"].std() < 2, (
        "normalised by measured statistics"
    )
    assert pipeline.vae.config.latents_std != [1.0] * CHANNELS
    (frames, _, captions), (others, *_) = (
        corpora.read_corpus(folder / f"corpus_generic_{n}") for n in (first, first + 50)
    )
    assert len(captions) == 6 and not (frames[:, 0] == others[:, 0]).all(axis=(1, 2, 3)).any()
    assert (folder / "embedded" / "model_index.json").exists()
    made = read_json(folder / "embedded" / "training.json")
    assert made["autoencoder_1"]["batch"] == made["transformer_2"]["batch"] == 4


def test_varied_captions_keep_the_verb_alone():
    captions = ["A red mug falls.", "An orange l-block darts."] * 200
    varied = corpora.vary_captions(captions, seed=0, share=0.7)
    assert varied == corpora.vary_captions(captions, seed=0, share=0.7) != corpora.vary_captions(captions, seed=1)
    assert [caption.split()[3] for caption in varied] == [caption.split()[3] for caption in captions]
    assert {"An orange", "A pink", "A red"} <= {" ".join(caption.split()[:2]) for caption in varied}
    kept = sum(one == other for one, other in zip(varied, captions, strict=True)) / len(captions)
    assert 0.2 < kept < 0.45
    assert corpora.vary_captions(captions, seed=0, share=0) == captions
