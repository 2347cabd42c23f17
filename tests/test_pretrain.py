"""Pre-training: batches depend on the step alone, the stages end in a stock autoencoder and a stock pipeline."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import read_json
from pisa_kit.models import codec
from pisa_kit.models.codec import CHANNELS, encode, make_autoencoder, only_space, single_frames
from pisa_kit.models.embedded import BASE, assemble, load
from pisa_kit.sim import corpora
from pisa_kit.sim.corpora import Corpus, read_corpus, write_corpus
from pisa_kit.training import pretrain
from pisa_kit.training.latents import read_latents
from pisa_kit.training.settings import Training

torch.set_num_threads(1)
SETTINGS = Training(steps=2, batch=4, learning_rate=1e-3, warmup=1, log_every=1)
STAGES = (
    pretrain.CodecStage(SETTINGS, crops=0.5, object_weight=9, latent_noise=0.1, square=2),
    pretrain.CodecStage(replace(SETTINGS, seed=1), crops=0, object_weight=9, latent_noise=0, square=2),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    original, corpora.SHARD = corpora.SHARD, 3
    yield tmp_path_factory.mktemp("pretrain")
    corpora.SHARD = original


@pytest.fixture(scope="module")
def pictures(folder):
    frames, masks, _ = read_corpus(write_corpus(folder / "corpus_anything", Corpus("anything", 6), 1))
    return pretrain.Pictures(frames.reshape(-1, 64, 64, 3), masks.reshape(-1, 64, 64))


@pytest.mark.parametrize(("step", "side", "count"), [(0, 32, 12), (1, 64, 4)])
def test_batches_depend_on_the_step_and_split_over_processes(pictures, step, side, count):
    make = lambda process, processes: pictures.batch(STAGES[0], step, process, processes)  # noqa: E731
    whole, again = make(0, 1), make(0, 1)
    assert whole["video"].shape == (count, 3, 1, side, side) and whole["video"].abs().max() <= 1
    assert torch.equal(whole["video"], again["video"])
    assert set(whole["weight"].unique().tolist()) <= {1.0, 9.0}
    for name in ("video", "weight"):
        halves = [make(process, 2)[name] for process in (0, 1)]
        assert torch.equal(torch.stack(halves, 1).flatten(0, 1), whole[name])


def test_crops_show_the_object(pictures):
    stage = replace(STAGES[0], training=replace(SETTINGS, batch=32))
    shown = pictures.batch(stage, 0, 0, 1)["weight"] > 1
    assert shown.flatten(1).any(1).float().mean() > 0.9


def test_only_the_taps_of_the_present_are_trained():
    autoencoder = make_autoencoder()
    size = sum(parameter.numel() for parameter in autoencoder.parameters())
    video = torch.rand(1, 3, 5, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = encode(autoencoder, video)
    with only_space(autoencoder):
        assert sum(parameter.numel() for parameter in autoencoder.parameters()) < 0.5 * size
    assert single_frames(autoencoder) and torch.equal(encode(autoencoder, video), before)


def test_stages_end_in_a_stock_autoencoder_and_are_not_repeated(pictures, folder):
    model = pretrain.pretrain_autoencoder(folder, clips=6, stages=STAGES, workers=1)
    loaded = AutoencoderKLWan.from_pretrained(folder / "vae")
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, loaded.state_dict()[name]), name
    assert single_frames(loaded)
    log = folder / "autoencoder_1" / "log.jsonl"
    before = log.read_text()
    again = pretrain.pretrain_autoencoder(folder, clips=6, stages=STAGES, workers=1)
    assert log.read_text() == before
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_transformer_learns_generic_motion_on_the_trained_codec(pictures, folder):
    if not (folder / "vae").exists():
        pretrain.pretrain_autoencoder(folder, clips=6, stages=STAGES, workers=1)
    settings = replace(SETTINGS, mixed_noise=0.5)
    pipeline = pretrain.pretrain_transformer(folder, clips=6, settings=settings, workers=1)
    latents = read_latents(folder / "latents_diet")["latents"][:].astype(np.float32)
    assert latents.shape == (6, CHANNELS, 17, 8, 8)
    assert abs(latents.mean()) < 0.5 and 0.5 < latents.std() < 2, "normalised by measured statistics"
    assert pipeline.vae.config.latents_std != [1.0] * CHANNELS
    assert (folder / "embedded" / "model_index.json").exists()
    made = read_json(folder / "embedded" / "training.json")
    assert made["autoencoder_1"]["batch"] == made["transformer"]["batch"] == 4


def test_a_former_base_is_gone_on_from(pictures, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(codec, "TIE", 100.0)
    stage = replace(STAGES[1], training=replace(SETTINGS, steps=12))
    former, video = load(), pictures.batch(STAGES[1], 9, 0, 1)["video"]
    away = []
    for start in (None, BASE):
        monkeypatch.setattr(pretrain, "kept_corpus", lambda *_: folder / "corpus_anything")
        model = pretrain.pretrain_autoencoder(tmp_path / str(start is None), 6, (stage,), 1, start)
        with torch.no_grad():
            wanted = former.vae.encode(video).latent_dist.mean
            away.append(float((encode(model, video) - wanted).square().mean()))
    assert away[1] < 0.8 * away[0] and model.config.latents_std == former.vae.config.latents_std
    with pytest.raises(InputError, match="start"):
        pretrain.pretrain_autoencoder(tmp_path / "True", 6, (stage,), 1, BASE)  # where one from nothing is
    pipeline = assemble(model)
    pretrain.take_over(pipeline, former, BASE)
    for name, value in former.transformer.state_dict().items():
        assert torch.equal(pipeline.transformer.state_dict()[name], value), name
    new, old = (each.text_encoder.shared.weight[each.tokenizer.get_vocab()["falls"]] for each in (pipeline, former))
    assert torch.equal(new, old)
    monkeypatch.setattr(former, "transformer", torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="same size"):
        pretrain.take_over(pipeline, former, BASE)
