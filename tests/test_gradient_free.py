"""Best-of-N between its bounds, tuning on rewards' values alone, and the likelihood test."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from pisa_kit.metrics.best_of import best_of, expected_error
from pisa_kit.models.embedded import load
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.study import without_gradient
from pisa_kit.study.run import Run, open_run
from pisa_kit.study.without_gradient import REWARDS, best_of_rewards, budget, pool, tuned_on_values
from pisa_kit.training import gradient_free
from pisa_kit.training.gradient_free import nft_loss, optimality
from pisa_kit.training.likelihood import denoising_losses, preferences
from pisa_kit.training.loop import seeded
from pisa_kit.training.settings import Training

RNG = np.random.default_rng(0)


def test_the_expected_error_is_the_mean_over_all_subsets():
    losses, errors = RNG.random((3, 5)), RNG.random((3, 5))
    for count in range(1, 6):
        kept = [min(subset, key=lambda i: losses[1, i]) for subset in combinations(range(5), count)]
        assert expected_error(losses, errors, count)[1] == pytest.approx(errors[1, kept].mean())


def test_a_reward_that_knows_something_lies_between_random_and_oracle():
    errors = RNG.random((60, 8))
    losses = {"good": errors + 0.3 * RNG.random((60, 8)), "blind": RNG.random((60, 8)), "wrong": -errors}
    table = best_of(losses, errors, (2, 8)).set_index(["choice", "N"])
    for count in (2, 8):
        oracle, good, random = (table.loc[(choice, count), "mean"] for choice in ("oracle", "good", "random"))
        assert oracle <= good < random == pytest.approx(errors.mean())
        assert table.loc[("good", count), "gain_low"] > 0 and table.loc[("wrong", count), "gain_high"] < 0
        assert table.loc[("blind", count), "gain_low"] < 0 < table.loc[("blind", count), "gain_high"]
    assert table.loc[("oracle", 8), "mean"] == pytest.approx(errors.min(1).mean())


def test_a_clip_without_an_error_and_a_video_without_a_loss():
    errors, losses = RNG.random((4, 3)), RNG.random((4, 3))
    errors[0, 1], losses[1, 2] = np.nan, np.nan
    table = best_of({"a": losses}, errors, (3,)).set_index("choice")
    assert table.loc["random", "n"] == 3
    assert table.loc["a", "mean"] == pytest.approx(np.mean([errors[i, np.nanargmin(losses[i])] for i in (1, 2, 3)]))


def test_what_is_imitated():
    losses = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [1.0, np.nan, 0.0]])
    wanted = optimality(losses, "nft")
    assert wanted[0].tolist() == [1, 0.5, 0] and (wanted[1] == 0.5).all() and np.isnan(wanted[2]).all()
    assert optimality(losses, "best").tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]


def test_nft_pulls_towards_good_videos_and_away_from_bad_ones():
    pipeline = load()
    torch.manual_seed(0)
    latents = torch.randn(1, pipeline.transformer.config.in_channels, 3, 8, 8)
    batch = {"latents": latents, "text": torch.zeros(1, 4, pipeline.transformer.config.text_dim)}
    batch["below"] = torch.zeros(1, 8, 8, dtype=torch.bool)
    loss = nft_loss(pipeline, pipeline, 0.5, Training(1, 1, 1e-3, place_weight="moving"))
    gradients = {}
    for name, r in (("good", 1.0), ("bad", 0.0), ("neither", 0.5)):
        pipeline.transformer.requires_grad_(True).zero_grad()
        loss(pipeline.transformer, batch | {"optimality": torch.tensor([r])}, seeded(0))["loss"].backward()
        gradients[name] = torch.cat([p.grad.ravel() for p in pipeline.transformer.parameters() if p.grad is not None])
    assert gradients["good"].norm() > 0
    torch.testing.assert_close(gradients["good"], -gradients["bad"], rtol=1e-3, atol=1e-6)
    assert gradients["neither"].norm() < 1e-3 * gradients["good"].norm(), "a middling video teaches nothing"


def test_the_study_tunes_and_chooses_for_oros_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "model", lambda self, method, seed: self.base())  # tuning starts from it, whatever it is
    run = open_run("smoke", tmp_path)
    assert budget(run) == (2, 2), "as many videos as ORO samples: 2 steps of 2"
    made = pool(run, 0)
    assert made["error"].shape == made["seg"].shape == made["latents"].shape[:2] == (2, 2)
    assert (made["latents"][0, 0] != made["latents"][0, 1]).any() and np.isfinite(made["error"]).all()
    table = best_of_rewards(run, 0).set_index(["choice", "N"])
    assert table.loc[("oracle", 2), "mean"] <= table.loc[("seg", 2), "mean"] <= 1
    assert set(REWARDS) < set(table.index.levels[0])
    monkeypatch.setattr(without_gradient, "candidates", None)  # made once
    looks = []  # of a tuning, before and after it
    monkeypatch.setattr(Run, "validation", lambda self, seed, model: {"fixed_l2": looks.pop(0)})
    before = next(run.model("PSFT", 0).transformer.parameters())
    for kind in gradient_free.KINDS:
        for look, helps in ((0.4, True), (0.6, False)):
            looks += [0.5, look]
            for _ in range(2):  # again: looked at once
                after = next(tuned_on_values(run, kind, 0).transformer.parameters())
                assert torch.equal(before, after) != helps, "what does not help validation is not kept"
            next(run.folder.glob(f"models/{kind}_*/validation.json")).unlink()


def test_a_model_finds_its_own_video_likelier_than_a_scrambled_one():
    pipeline, scene = load(), sample(0)
    truth = simulate(scene, 64, 17, 16)
    scrambled = replace(truth, frames=truth.frames[[0, *RNG.permutation(16) + 1]])
    still = replace(truth, frames=np.repeat(truth.frames[:1], 17, 0))
    losses = denoising_losses(pipeline, [truth, scrambled, still], sigmas=(0.7,))
    assert losses.shape == (3, 1) and losses[0, 0] < losses[1, 0]
    again = denoising_losses(pipeline, [truth], sigmas=(0.7,))
    assert again[0, 0] == pytest.approx(losses[0, 0], rel=1e-5), "the noise depends on seed and place"
    table = preferences(pipeline, [truth], {"scrambled": [scrambled]}).iloc[0]
    assert table["value"] == 1 and table["margin"] > 0 and table["n"] == 1
