"""One first-frame condition everywhere; our sampler is the stock one; the velocity loss has its known minimum."""

import numpy as np
import pytest
import torch

from pisa_kit.models.codec import CHANNELS
from pisa_kit.models.conditioning import Condition, condition, encode, token_timesteps, velocity, with_first_frame
from pisa_kit.models.embedded import PROMPT_TOKENS, SHIFT, assemble
from pisa_kit.models.sampling import noise_like, sample, sample_latents
from pisa_kit.training.psft import add_noise, velocity_loss

torch.set_num_threads(1)
FRAMES = 5  # the stock pipeline makes one frame more than it is asked for, if the codec does not compress time
CAPTIONS = ["A red mug falls.", "A blue sphere rises."]


@pytest.fixture(scope="module")
def pipeline():
    tiny = assemble()
    tiny.set_progress_bar_config(disable=True)
    return tiny


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.fixture(scope="module")
def given(pipeline, frames) -> Condition:
    return condition(pipeline, frames, CAPTIONS)


def stock(pipeline, frame: torch.Tensor, caption: str, noise: torch.Tensor, steps: int, guidance: float) -> np.ndarray:
    settings = {"height": 64, "width": 64, "num_frames": FRAMES - 1, "guidance_scale": guidance, "output_type": "np"}
    image = (frame[None] + 1) / 2
    return pipeline(
        image=image,
        prompt=caption,
        latents=noise.clone(),
        num_inference_steps=steps,
        max_sequence_length=PROMPT_TOKENS,
        **settings,
    ).frames


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_sampler_is_the_stock_pipelines(pipeline, frames, guidance):
    given = condition(pipeline, frames, CAPTIONS, guidance)
    noise = noise_like(given, FRAMES, [3, 4])
    ours = sample(pipeline, given, noise, 4, guidance)
    for index, caption in enumerate(CAPTIONS):
        theirs = stock(pipeline, frames[index], caption, noise[index : index + 1], 4, guidance)
        mine = (ours[index].permute(1, 2, 3, 0).numpy() + 1) / 2
        assert np.abs(2 * (mine - theirs[0])).max() <= 1e-4


def test_a_clip_does_not_depend_on_its_batch(pipeline, given):
    both = noise_like(given, FRAMES, [3, 4])
    alone = noise_like(given[1:], FRAMES, [4])
    assert torch.equal(both[1:], alone)
    together = sample(pipeline, given, both, steps=2)[1:]
    torch.testing.assert_close(together, sample(pipeline, given[1:], alone, steps=2), atol=1e-5, rtol=0)


def test_first_latent_is_clean_unmoved_and_at_timestep_0(pipeline, frames, given):
    latents = sample_latents(pipeline, given, noise_like(given, FRAMES, [0, 1]), steps=2)
    assert torch.equal(latents[:, :, :1], given.first)
    torch.testing.assert_close(given.first, encode(pipeline.vae, frames[:, :, None]))
    steps = token_timesteps(pipeline.transformer, latents, torch.tensor([0.5, 1.0]))
    assert steps.shape == (2, FRAMES * 16) and (steps[:, :16] == 0).all()
    assert (steps[0, 16:] == 500).all() and (steps[1, 16:] == 1000).all()


def test_the_noise_of_the_first_frame_is_never_seen(pipeline, given):
    noise = noise_like(given, FRAMES, [0, 1])
    other = noise.clone()
    other[:, :, 0] += 1
    sigma = torch.tensor([0.7, 0.7])
    with torch.no_grad():
        assert torch.equal(
            velocity(pipeline.transformer, noise, sigma, given), velocity(pipeline.transformer, other, sigma, given)
        )


def test_gradients_flow_through_the_last_steps_only(pipeline, given):
    noise = noise_like(given, 5, [0, 1]).requires_grad_()
    latents = sample_latents(pipeline, given, noise, steps=3, gradient_steps=1)
    latents[:, :, 1:].square().mean().backward()
    assert noise.grad is None, "the first step carries no gradient"
    weights = [parameter.grad for parameter in pipeline.transformer.parameters()]
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in weights)
    pipeline.transformer.zero_grad(set_to_none=True)
    assert not sample_latents(pipeline, given, noise, steps=2).requires_grad


def test_guidance_doubles_what_the_caption_changes_and_carries_gradients(pipeline, frames):
    given = condition(pipeline, frames, CAPTIONS, 2.0)
    noise, sigma = noise_like(given, FRAMES, [0, 1]), torch.tensor([0.7, 0.7])
    empty = Condition(given.first, given.empty.expand(2, -1, -1))
    with torch.no_grad():
        without, plain = (velocity(pipeline.transformer, noise, sigma, each) for each in (empty, given))
        guided = velocity(pipeline.transformer, noise, sigma, given, guidance=2.0)
    assert not torch.equal(plain, without)
    torch.testing.assert_close(guided, 2 * plain - without, atol=1e-5, rtol=0)
    found = []
    for again in (False, True):
        latents = sample_latents(pipeline, given, noise, 2, 1, again, guidance=2.0)
        found.append(torch.autograd.grad(latents.square().mean(), pipeline.transformer.proj_out.weight)[0])
    assert found[0].abs().sum() > 0
    torch.testing.assert_close(*found)


def test_velocity_loss_is_zero_for_the_true_velocity_and_ignores_the_first_frame(pipeline, given):
    latents = with_first_frame(torch.randn(2, CHANNELS, 5, 8, 8, generator=torch.Generator().manual_seed(2)), given)

    class Oracle(torch.nn.Module):
        module = pipeline.transformer  # as a wrapper for distributed training has it

        def forward(self, hidden_states, timestep, encoder_hidden_states, return_dict):
            assert torch.equal(hidden_states[:, :, :1], latents[:, :, :1]), "the first frame enters clean"
            sigma = (timestep[:, ::16] / 1000).clamp(min=1e-6)[:, None, :, None, None]
            answer = (hidden_states - latents) / sigma  # noise - x0
            answer[:, :, 0] = 1e6
            return (answer,)

    batch = {"latents": latents, "text": given.text, "weight": torch.ones(2, 1, 1, 8, 8)}
    for mixed in (0.0, 1.0):
        terms = velocity_loss(Oracle(), batch, torch.Generator().manual_seed(0), SHIFT, mixed)
        assert terms["loss"] < 1e-6
        assert velocity_loss(pipeline.transformer, batch, torch.Generator().manual_seed(0), SHIFT, mixed)["loss"] > 0.5


@pytest.mark.parametrize("mixed", [0.0, 0.5, 1.0])
def test_some_clips_have_noise_levels_of_their_own_in_every_frame(mixed):
    x0 = torch.zeros(400, 1, 4, 2, 2)
    noisy, noise, sigma = add_noise(x0, SHIFT, torch.Generator().manual_seed(0), mixed)
    torch.testing.assert_close(noisy, sigma[:, None, :, None, None] * noise)
    assert float((sigma != sigma[:, :1]).any(1).float().mean()) == pytest.approx(mixed, abs=0.06)
