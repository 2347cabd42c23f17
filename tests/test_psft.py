"""PSFT: cached latents, a loss that falls, exact resumption, a result in the stock format."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline
from tiny_pipelines import make

from pisa_kit.core.errors import InputError
from pisa_kit.models import sampling
from pisa_kit.models.adapters import merge, with_adapter
from pisa_kit.models.conditioning import condition
from pisa_kit.models.embedded import BASE, PROMPT_TOKENS, SHIFT, assemble, load
from pisa_kit.perception.tensors import to_video
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.training import loop, psft
from pisa_kit.training.latents import cache_latents
from pisa_kit.training.settings import Training

torch.set_num_threads(1)
SETTINGS = Training(steps=6, batch=2, learning_rate=1e-3, warmup=2, ema=0.5, log_every=1, checkpoint_every=2)


@pytest.fixture(scope="module")
def clips():
    return [simulate(sample(seed), 64, 5, 16) for seed in range(4)]


@pytest.fixture(scope="module")
def cached(clips, tmp_path_factory):
    path = tmp_path_factory.mktemp("latents") / "clips"
    frames, masks = (np.stack([getattr(clip, name) for clip in clips]) for name in ("frames", "dropped"))
    captions = [clip.caption for clip in clips]
    return cache_latents(assemble(), [(frames, masks)], captions, path, batch=3)


def test_killed_training_continues_to_the_same_weights_in_stock_format(cached, tmp_path, monkeypatch):
    whole = psft.train_transformer(assemble(), cached, SETTINGS, tmp_path / "whole")
    psft_loss, calls = psft.velocity_loss, []

    def dying(model, batch, *given, **options):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return psft_loss(model, batch, *given, **options)

    monkeypatch.setattr(psft, "velocity_loss", dying)
    with pytest.raises(KeyboardInterrupt):
        psft.train_transformer(assemble(), cached, SETTINGS, tmp_path / "part")
    monkeypatch.undo()
    psft.train_transformer(assemble(), cached, SETTINGS, tmp_path / "part")
    loaded = WanImageToVideoPipeline.from_pretrained(tmp_path / "part" / "pipeline_6")
    for name, value in whole.transformer.state_dict().items():
        assert torch.equal(value, loaded.transformer.state_dict()[name]), name
    fresh = assemble().transformer.state_dict()
    assert any(not torch.equal(value, fresh[name]) for name, value in whole.transformer.state_dict().items())


@torch.no_grad()
def mean_loss(pipeline, cached: dict) -> float:
    batch = {name: torch.from_numpy(cached[name][:]).float() for name in ("latents", "text")}
    batch["weight"] = torch.ones(len(batch["latents"]), 1, 1, 8, 8)
    draws = [torch.Generator().manual_seed(seed) for seed in range(4)]
    return float(np.mean([psft.velocity_loss(pipeline.transformer, batch, draw, SHIFT)["loss"] for draw in draws]))


def test_training_lowers_the_loss_on_its_clips(cached, tmp_path):
    settings = replace(SETTINGS, steps=40, batch=4, ema=0.8)
    before = mean_loss(assemble(), cached)
    assert mean_loss(psft.train_transformer(assemble(), cached, settings, tmp_path), cached) < 0.8 * before


def test_too_few_clips_are_refused(cached, tmp_path):
    with pytest.raises(InputError, match="clips: are 4, fewer than one batch of 8"):
        psft.train_transformer(assemble(), cached, replace(SETTINGS, batch=8), tmp_path)


def test_lora_is_an_adapter_that_the_stock_pipeline_loads_and_that_merges(cached, clips, tmp_path):
    """The adapter's video is ours, the merged model's too, and it is another one than the base's."""
    assemble().save_pretrained(tmp_path / "base")
    base, settings = load(tmp_path / "base"), replace(SETTINGS, lora_rank=2, learning_rate=3e-2)
    tuned = psft.train_transformer(base, cached, settings, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "adapter_6").iterdir()] == ["pytorch_lora_weights.safetensors"]
    stock = WanImageToVideoPipeline.from_pretrained(tmp_path / "base")
    stock.set_progress_bar_config(disable=True)
    stock.load_lora_weights(tmp_path / "run" / "adapter_6")
    frame = to_video(clips[0].frames[None])[:, :, 0]
    given = condition(base, frame, [clips[0].caption])
    noise = sampling.noise_like(given, 5, [3])
    video = {
        name: (sampling.sample(each, given, noise, 2) + 1) / 2 for name, each in {"base": base, "tuned": tuned}.items()
    }
    call = {"height": 64, "width": 64, "num_frames": 4, "num_inference_steps": 2, "guidance_scale": 1.0}
    call |= {"max_sequence_length": PROMPT_TOKENS, "output_type": "pt"}
    theirs = stock((frame + 1) / 2, clips[0].caption, latents=noise, **call).frames.movedim(1, 2)
    assert (video["tuned"] - theirs).abs().max() <= 1e-4 < 1e-2 < (video["tuned"] - video["base"]).abs().max()
    merge(tuned.transformer)
    before, after = base.transformer.state_dict(), tuned.transformer.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all(".attn" in name and name.endswith("weight") for name in changed)
    difference = after["blocks.0.attn1.to_q.weight"] - before["blocks.0.attn1.to_q.weight"]
    assert torch.linalg.matrix_rank(difference, rtol=1e-3) <= 2
    assert ((sampling.sample(tuned, given, noise, 2) + 1) / 2 - theirs).abs().max() <= 1e-4


def test_an_adapter_is_trained_further_and_one_of_another_rank_or_model_is_refused(cached, tmp_path):
    settings = replace(SETTINGS, steps=2, lora_rank=2, learning_rate=1e-2)
    first = psft.train_transformer(assemble(), cached, settings, tmp_path / "first")
    second = psft.train_transformer(first, cached, settings, tmp_path / "second")
    names = first.transformer.state_dict()
    assert names.keys() == second.transformer.state_dict().keys(), "one adapter, not two"
    for name, value in second.transformer.state_dict().items():
        assert torch.equal(names[name], value) != ("lora" in name), name
    with pytest.raises(InputError, match="lora_rank: is 4. It should be 2"):
        psft.train_transformer(first, cached, replace(settings, lora_rank=4), tmp_path / "third")
    with pytest.raises(InputError, match="adapter: cannot be loaded"):
        with_adapter(make("wan2.2-ti2v-5b"), tmp_path / "first" / "adapter_2")
    with pytest.raises(InputError, match="pytorch_lora_weights.safetensors: file: does not exist"):
        with_adapter(assemble(), tmp_path)
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="bad.safetensors: adapter: cannot be loaded"):
        with_adapter(assemble(), tmp_path / "bad.safetensors")


def test_a_smaller_number_of_steps_that_is_asked_for_later_is_made(cached, tmp_path):
    psft.train_transformer(assemble(), cached, SETTINGS, tmp_path / "run")
    late = psft.train_transformer(assemble(), cached, replace(SETTINGS, steps=4, decay=0), tmp_path / "run")
    alone = psft.train_transformer(assemble(), cached, replace(SETTINGS, steps=4, decay=0), tmp_path / "alone")
    for name, value in alone.transformer.state_dict().items():
        assert torch.equal(value, late.transformer.state_dict()[name]), name
    assert loop.steps_done(tmp_path / "run" / "checkpoint.safetensors") == SETTINGS.steps, "the longer run stays"


def test_place_weights_are_what_they_say():
    x0 = torch.zeros(1, 4, 3, 8, 8)
    x0[:, :, 2, 1, 1] = 9
    below = torch.zeros(1, 8, 8, dtype=torch.bool)
    below[0, 5, 5] = True
    weights = {kind: psft.place_weight(kind, x0, below) for kind in psft.PLACE_WEIGHTS}
    assert all(weight.shape == (1, 1, 1, 8, 8) for weight in weights.values())
    assert (weights["even"] == 1).all()
    assert weights["moving"][..., 1, 1] == psft.PLACE_WEIGHT and weights["moving"].sum() == 63 + psft.PLACE_WEIGHT
    assert weights["below"][..., 5, 5] == psft.PLACE_WEIGHT and weights["below"].sum() == 63 + psft.PLACE_WEIGHT


@pytest.mark.parametrize("shift", [1.0, 4.0])
def test_noise_levels_are_shifted_as_the_models_own_sampler_shifts_them(shift):
    sigma = psft.draw_sigma(20_000, shift, torch.Generator().manual_seed(0))
    unshifted = sigma / (shift + (1 - shift) * sigma)
    assert float(unshifted.median()) == pytest.approx(0.5, abs=0.01)


def test_all_weights_that_were_trained_stay_in_float32(cached, tmp_path):
    tuned = psft.train_transformer(load(BASE, torch.bfloat16), cached, replace(SETTINGS, steps=1), tmp_path)
    again = psft.train_transformer(load(BASE, torch.bfloat16), cached, replace(SETTINGS, steps=1), tmp_path)
    for model in (tuned, again):
        assert (model.transformer.dtype, model.vae.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(next(tuned.transformer.parameters()), next(again.transformer.parameters()))


def test_places_that_weigh_nothing_are_left_out_of_the_loss():
    model = assemble().transformer
    x0 = torch.randn(2, model.config.in_channels, 3, 8, 8, generator=loop.seeded(0))
    text, left = torch.zeros(2, 4, model.config.text_dim), torch.zeros(2, 1, 1, 8, 8)
    left[..., :4] = 1

    def of(weight: torch.Tensor) -> float:
        batch = {"latents": x0, "text": text, "weight": weight}
        return float(psft.velocity_loss(model, batch, loop.seeded(1), SHIFT)["loss"])

    with torch.no_grad():
        one, other, both = of(left), of(1 - left), of(torch.ones_like(left))
    assert one != other and (one + other) / 2 == pytest.approx(both)
