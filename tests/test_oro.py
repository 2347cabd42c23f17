"""ORO: gradients through the sampler and the decoder, checkpointing without effect, resumption, early stop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pisa_kit.core.errors import InputError
from pisa_kit.models.conditioning import Condition, decode, pad_text
from pisa_kit.models.embedded import load
from pisa_kit.models.sampling import noise_like, sample_latents
from pisa_kit.perception.tensors import to_video
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.training import oro
from pisa_kit.training.latents import cache_latents
from pisa_kit.training.loop import TrainingError, seeded
from pisa_kit.training.rewards import Reward, Truth, load_rewards
from pisa_kit.training.settings import OroSettings, Training

torch.set_num_threads(1)
TRAINING = Training(steps=4, batch=2, learning_rate=1e-4, warmup=1, decay=0, ema=0.5, log_every=1, checkpoint_every=1)
SETTINGS = OroSettings(TRAINING, {"seg": 1.0}, sampling_steps=2)


@pytest.fixture(scope="module")
def base():
    return load()


@pytest.fixture(scope="module")
def clips(base, tmp_path_factory):
    made = [simulate(sample(seed), 64, 17, 16) for seed in range(3)]
    frames, masks = (np.stack([getattr(clip, name) for clip in made]) for name in ("frames", "dropped"))
    path = tmp_path_factory.mktemp("oro") / "latents"
    captions = [clip.caption for clip in made]
    return cache_latents(base, [(frames, masks)], captions, path) | {"frames": frames, "masks": masks}


@pytest.fixture(scope="module")
def given(base, clips) -> Condition:
    return Condition(torch.from_numpy(clips["latents"][:1][:, :, :1]).float(), pad_text(clips["text"][:1], base))


@pytest.fixture(scope="module")
def rewards():
    return load_rewards(["seg", "flow"])


def latent_frames(base) -> int:
    return 16 // base.vae.config.scale_factor_temporal + 1


def gradient_of(base, given, truth, rewards, through: int, checkpoint: bool) -> torch.Tensor:
    base.transformer.zero_grad()
    latents = sample_latents(base, given, noise_like(given, latent_frames(base), [0]), 3, through, checkpoint)
    video = decode(base.vae, latents, checkpoint)
    rewards["seg"](video, truth).loss.sum().backward()
    return torch.cat([p.grad.flatten() for p in base.transformer.parameters() if p.grad is not None])


@pytest.fixture(scope="module")
def truth(clips) -> Truth:
    return Truth(to_video(clips["frames"][:1]), torch.from_numpy(clips["masks"][:1]))


def test_checkpointing_changes_no_gradient(base, given, truth, rewards):
    for through in (1, 3):
        plain, repeated = (gradient_of(base, given, truth, rewards, through, again) for again in (False, True))
        assert float(plain.abs().max()) > 0
        torch.testing.assert_close(plain, repeated, rtol=1e-4, atol=1e-6 * float(plain.abs().max()))


@pytest.fixture
def double():
    """Double precision: in float32 the loss's last digit may flip a ReLU of the nets that look at the video."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("weights", [{"seg": 1.0, "centre": 2.0}, {"energy": 5.0}])
def test_what_is_computed_again_changes_no_loss_and_no_gradient(clips, weights, double):
    base = load(dtype=torch.float64)
    length = 5  # float64 is slow
    batch = {"first": torch.from_numpy(clips["latents"][:2][:, :, :1]).double(), "latent_frames": length}
    video = to_video(clips["frames"][:2, :length]).double()
    batch |= {"text": pad_text(clips["text"][:2], base).double(), "video": video}
    batch["masks"] = torch.from_numpy(clips["masks"][:2, :length])
    found = {}
    for checkpoint in ("nothing", "views", "all"):
        settings = replace(SETTINGS, weights=weights, gradient_checkpointing=checkpoint)
        base.transformer.zero_grad()
        rewards = load_rewards(settings.weights)
        for reward in rewards.values():
            reward.args[0].double()
        terms = oro.oro_loss(base, base, rewards, settings)(base.transformer, batch, seeded(0))
        terms["loss"].backward()
        gradient = torch.cat([p.grad.flatten() for p in base.transformer.parameters() if p.grad is not None])
        found[checkpoint] = {name: float(term.detach()) for name, term in terms.items()}, gradient
    whole, plain = found["nothing"]
    for terms, gradient in found.values():
        assert terms == pytest.approx(whole, rel=1e-10, abs=1e-12)
        torch.testing.assert_close(gradient, plain, rtol=1e-8, atol=1e-10 * float(plain.abs().max()))


def test_more_steps_more_gradient_and_the_same_video(base, given, truth, rewards):
    one, all_three = (gradient_of(base, given, truth, rewards, through, False) for through in (1, 3))
    assert not torch.allclose(one, all_three)
    noise = noise_like(given, latent_frames(base), [0])
    with torch.no_grad():
        silent = sample_latents(base, given, noise, 3)
    torch.testing.assert_close(sample_latents(base, given, noise, 3, 3).detach(), silent, atol=1e-5, rtol=0)


def test_killed_tuning_continues_to_the_same_weights(base, clips, rewards, tmp_path, monkeypatch):
    whole, _ = oro.tune(base, clips, rewards, SETTINGS, tmp_path / "whole")
    calls, loss = [], oro.oro_loss

    def dying(*arguments):
        inner = loss(*arguments)

        def step(*given):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return inner(*given)

        return step

    monkeypatch.setattr(oro, "oro_loss", dying)
    with pytest.raises(KeyboardInterrupt):
        oro.tune(base, clips, rewards, SETTINGS, tmp_path / "part")
    monkeypatch.undo()
    again, _ = oro.tune(base, clips, rewards, SETTINGS, tmp_path / "part")
    before, changed = base.transformer.state_dict(), again.transformer.state_dict()
    for name, value in whole.transformer.state_dict().items():
        assert torch.equal(value, changed[name]), name
    assert any(not torch.equal(value, before[name]) for name, value in changed.items())


def test_the_anchor_is_zero_where_it_starts_and_everything_is_logged(base, clips, rewards):
    settings = replace(SETTINGS, weights={"seg": 1.0, "flow": 0.5}, gradient_steps=0)
    batch = {
        "first": torch.from_numpy(clips["latents"][:2][:, :, :1]).float(),
        "latent_frames": latent_frames(base),
        "text": pad_text(clips["text"][:2], base),
        "video": torch.zeros(2, 3, 17, 64, 64),
        "masks": torch.from_numpy(clips["masks"][:2] & np.array([True, False])[:, None, None, None]),
    }
    with torch.no_grad():
        terms = oro.oro_loss(base, base, rewards, settings)(base.transformer, batch, seeded(0))
    assert float(terms["reference_distance"]) == 0 and float(terms["seg_left_out"]) == 1
    assert {"loss", "seg", "flow", "seg_lost", "flow_left_out"} <= terms.keys()
    torch.testing.assert_close(terms["loss"], terms["seg"] + 0.5 * terms["flow"])


def test_guidance_reaches_the_reward(base, clips, rewards):
    batch = oro.make_batch(clips, base, SETTINGS.training, 0)
    losses = []
    for guidance in (1.0, 3.0):
        settings = replace(SETTINGS, guidance=guidance)
        with torch.no_grad():
            losses.append(float(oro.oro_loss(base, base, rewards, settings)(base.transformer, batch, seeded(0))["seg"]))
    assert np.isfinite(losses).all() and losses[0] != losses[1]


def test_held_out_metrics_stop_it(base, clips, rewards, tmp_path):
    scores = iter([1.0, 0.5, 0.7, 0.6, 0.1])
    settings = replace(SETTINGS, eval_steps=(1, 2, 3, 4), patience=2)
    best, validations = oro.tune(
        base, clips, rewards, settings, tmp_path, validate=lambda model: {"fixed_l2": next(scores)}
    )
    assert [look["step"] for look in validations] == [0, 1, 2, 3]
    one = load(tmp_path / "pipeline_1").transformer.state_dict()
    assert all(torch.equal(value, one[name]) for name, value in best.transformer.state_dict().items())
    again = oro.tune(base, clips, rewards, settings, tmp_path, validate=lambda model: pytest.fail("looked again"))
    assert again[1] == validations
    more = replace(settings, eval_steps=(1, 3), patience=1)  # other looks at the same run: each keeps its own step
    _, fewer = oro.tune(base, clips, rewards, more, tmp_path, validate=lambda model: pytest.fail("looked again"))
    assert fewer == [validations[0], validations[1], validations[3]]
    seen = []
    look = lambda model: {"fixed_l2": seen.append(model) or 0.1}  # noqa: E731
    for clips_are, count in (("others", 2), ("others", 2), ("others still", 4)):
        oro.tune(base, clips, rewards, replace(settings, patience=1), tmp_path, validate=look, judged_by=clips_are)
        assert len(seen) == count, "looks at other clips do not count"
    assert replace(settings, eval_steps=(1, 9)).evaluations() == (0, 1, TRAINING.steps), "the last step is judged"
    with pytest.raises(InputError, match="weights: differ"):
        oro.tune(base, clips, rewards, replace(settings, weights={"seg": 2.0}), tmp_path)
    measured = iter([{"fixed_l2": 1.0, "object_colour_error": float("nan")}, {"fixed_l2": 0.5}])
    short = replace(settings, training=replace(TRAINING, steps=1))
    _, hacked = oro.tune(base, clips, rewards, short, tmp_path / "lost", validate=lambda model: next(measured))
    assert np.isnan(hacked[0]["object_colour_error"]), "an object that is always lost has no colour"


def test_a_reward_that_is_not_a_number_stops_with_its_name(base, clips, rewards, tmp_path):
    broken = {"seg": lambda video, truth: replace(rewards["seg"](video, truth), loss=video.mean((1, 2, 3, 4)) * np.nan)}
    with pytest.raises(TrainingError, match="seg"):
        oro.tune(base, clips, broken, SETTINGS, tmp_path)


def test_bad_settings(base, clips, rewards, tmp_path):
    with pytest.raises(InputError, match="gradient_steps"):
        replace(SETTINGS, gradient_steps=3)
    with pytest.raises(InputError, match="weights"):
        replace(SETTINGS, weights={})
    with pytest.raises(InputError, match="depth"):
        oro.tune(base, clips, rewards, replace(SETTINGS, weights={"depth": 1.0}), tmp_path)
    with pytest.raises(InputError, match="batch"):
        oro.tune(base, clips, rewards, replace(SETTINGS, training=replace(TRAINING, batch=9)), tmp_path)


def test_the_anchor_pulls_and_what_is_left_out_does_not_count(base):
    other, settings = load(), replace(SETTINGS, weights={"x": 2.0}, reference_weight=3.0)
    with torch.no_grad():
        for parameter in other.transformer.parameters():
            parameter.mul_(1.1)

    def reward(video, truth) -> Reward:
        return Reward(torch.tensor([1.0, 9.0]), torch.tensor([True, False]), torch.zeros(2))

    channels, width = base.transformer.config.in_channels, base.transformer.config.text_dim
    batch = {"first": torch.zeros(2, channels, 1, 8, 8), "latent_frames": 3, "text": torch.zeros(2, 4, width)}
    batch |= {"video": torch.zeros(2, 3, 3, 64, 64), "masks": torch.zeros(2, 3, 64, 64, dtype=torch.bool)}
    with torch.no_grad():
        terms = oro.oro_loss(base, other, {"x": reward}, settings)(base.transformer, batch, seeded(0))
    assert float(terms["x"]) == 1 and float(terms["reference_distance"]) > 0
    assert float(terms["loss"]) == pytest.approx(2 + 3 * float(terms["reference_distance"]))
