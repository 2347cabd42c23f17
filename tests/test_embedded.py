"""The embedded model's parts: stock classes, stock format, and an autoencoder loss that measures what it says."""

import json
import shutil
import unittest.mock
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline
from PIL import Image

from pisa_kit.core.errors import InputError
from pisa_kit.models import codec
from pisa_kit.models.embedded import PROMPT_TOKENS, assemble, load, make_tokenizer
from pisa_kit.sim.motion import KINDS
from pisa_kit.sim.scenes import SPLITS, sample

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> WanImageToVideoPipeline:
    folder = tmp_path_factory.mktemp("tiny")
    assemble().save_pretrained(folder)
    assert not list(folder.rglob("*.bin")) and len(list(folder.rglob("*.safetensors"))) == 3
    loaded = WanImageToVideoPipeline.from_pretrained(folder)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_stock_pipeline_loads_it_and_generates(pipeline):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    settings = {"height": 64, "width": 64, "num_frames": 16, "num_inference_steps": 2, "guidance_scale": 1.0}
    settings |= {"image": image, "max_sequence_length": PROMPT_TOKENS, "output_type": "np"}

    def make(prompt: str, seed: int) -> np.ndarray:
        return pipeline(prompt=prompt, generator=torch.Generator().manual_seed(seed), **settings).frames

    video = make("A red mug falls.", 0)
    assert video.shape == (1, 17, 64, 64, 3) and np.isfinite(video).all()
    np.testing.assert_array_equal(video, make("A red mug falls.", 0))
    assert np.abs(video - make("A red mug falls.", 1)).max() > 1e-3
    assert np.abs(video - make("A blue sphere rises.", 0)).max() > 1e-5, "the prompt reaches the video"


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda folder: shutil.rmtree(folder / "vae"), "vae: is missing"),
        (lambda folder: (folder / "model_index.json").unlink(), "model_index.json"),
        (
            lambda folder: _configure(folder, num_layers=8),
            "transformer: .*weights of another architecture",
        ),
        (
            lambda folder: _configure(folder, num_layers=2),
            "transformer: .*weights of another architecture",
        ),
        (lambda folder: _configure(folder, ffn_dim=512), "transformer: cannot be loaded"),
        (lambda folder: _cut(folder / "vae" / "diffusion_pytorch_model.safetensors"), "vae: cannot be loaded"),
    ],
)
def test_incomplete_or_foreign_pipelines_are_refused(pipeline, tmp_path, damage, message):
    pipeline.save_pretrained(tmp_path)
    assert load(tmp_path).config.expand_timesteps
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def _configure(folder, **changes):
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_every_caption_is_made_of_known_words():
    tokenizer = make_tokenizer()
    captions = [sample(seed, objects=split).caption for split in SPLITS for seed in range(40)]
    captions += [captions[0].replace("falls", verb) for verb in KINDS] + ["a video of an object dropping"]
    for caption in captions:
        assert tokenizer.unk_token_id not in tokenizer(caption).input_ids, caption
    ids = tokenizer("A red zebra falls.").input_ids
    assert tokenizer.unk_token_id in ids and ids[-1] == tokenizer.eos_token_id


def test_a_video_is_a_batch_of_pictures_to_the_codec():
    model = codec.make_autoencoder().eval()
    video = torch.rand(2, 3, 5, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        latents = model.encode(video).latent_dist.mean
        torch.testing.assert_close(codec.encode(model, video), latents, atol=1e-5, rtol=1e-4)
        decoded = codec.decode(model, latents)
        torch.testing.assert_close(decoded.clamp(-1, 1), model.decode(latents).sample, atol=1e-5, rtol=1e-4)
        reversed_time = codec.decode(model, latents.flip(2)).flip(2)
    assert latents.shape == (2, codec.CHANNELS, 5, 8, 8) and decoded.shape == video.shape
    torch.testing.assert_close(reversed_time, decoded)
    assert codec.single_frames(model)


def test_a_codec_that_looks_back_in_time_is_decoded_frame_by_frame():
    model = codec.make_autoencoder().eval()
    with torch.no_grad():
        model.decoder.conv_in.weight[:, :, 0] += 0.02
        latents = torch.randn(1, codec.CHANNELS, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        assert not codec.single_frames(model)
        stock = model.decode(latents).sample
        torch.testing.assert_close(codec.decode(model, latents).clamp(-1, 1), stock, atol=1e-5, rtol=1e-4)
    wanted = latents.clone().requires_grad_()
    gradients = []
    for again in (False, True):
        (gradient,) = torch.autograd.grad(codec.decode(model, wanted, again).square().mean(), wanted)
        gradients.append(gradient)
    torch.testing.assert_close(*gradients)


def test_as_pictures_changes_neither_pictures_nor_gradients():
    model = codec.make_autoencoder()
    video = torch.rand(2, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    calls, convolve = [], codec.F.conv2d
    results = []
    for manager in (nullcontext(), codec.as_pictures()):
        model.zero_grad()
        with manager, unittest.mock.patch.object(codec.F, "conv2d", lambda *a: calls.append(1) or convolve(*a)):
            decoded = model.decode(model.encode(video).latent_dist.mean).sample
            decoded.square().mean().backward()
        gradient = model.encoder.conv_in.weight.grad[:, :, -1].clone()
        results.append((decoded.detach(), gradient, len(calls)))
    for one, other in zip(results[0][:2], results[1][:2], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert results[1][2] > results[0][2] + 8, "it does take the short way"
    assert "as_pictures" not in codec.WanCausalConv3d.forward.__qualname__


def test_psnr_in_decibels():
    assert codec.psnr(torch.tensor(4.0)) == 0 and codec.psnr(torch.tensor(0.04)) == pytest.approx(20)


def test_weights_cover_the_object_and_its_neighbours():
    masks = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    masks[0, 0, 1, 1] = True
    weight = codec.object_weight(masks, 6.0)
    assert weight.shape == (2, 1, 1, 8, 8)
    assert weight[0, ..., 2, 2] == weight[0, ..., 1, 1] == 6.0 and weight[0].sum() == 9 * 6 + 55
    assert (weight[1] == 1).all()


def test_reconstruction_loss_has_gradients_and_counts_the_object_more():
    model = codec.Reconstruction(codec.make_autoencoder())
    video = torch.rand(1, 3, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    batch = {"video": video, "weight": torch.ones(1, 1, 1, 32, 32)}
    terms = codec.reconstruction_loss(model, batch, torch.Generator().manual_seed(0), latent_noise=0.1)
    terms["loss"].backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0
    with torch.no_grad():
        decoded, *_ = model(video, torch.Generator().manual_seed(0), 0.0)
        rough, *_ = model(video, torch.Generator().manual_seed(0), 1.0)
        assert (rough - decoded).abs().mean() > 1e-3, "roughened latents give other pictures"
        plain = codec.reconstruction_loss(model, batch, torch.Generator().manual_seed(0))
        error = (decoded - video)[0].abs().mean((0, 1))
        row, column = np.unravel_index(int(error.argmax()), error.shape)
        batch["weight"][..., row, column] = 1000
        heavier = codec.reconstruction_loss(model, batch, torch.Generator().manual_seed(0))
    assert heavier["loss"] > plain["loss"]
