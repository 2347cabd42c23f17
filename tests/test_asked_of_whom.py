"""What a study asks of its parts: which clips, whose seed, which model. A mistake here changes every number quietly."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pisa_kit.metrics.scoring import METRICS
from pisa_kit.study import experiments, replay, without_gradient
from pisa_kit.study import run as run_module
from pisa_kit.study.run import STAGE_OF, VALIDATED, Run, open_run


@pytest.fixture
def run(tmp_path):
    return open_run("smoke", tmp_path)


def test_a_reduction_is_from_before_to_after_on_the_clips_of_both():
    rows = [("base", "a", 4.0), ("base", "b", 2.0), ("PSFT", "b", 1.0)]
    table = pd.DataFrame(rows, columns=["method", "name", "l2"]).assign(split="unseen", seed=0)
    found = experiments.Scores(table, {}, []).reductions("base", ["l2"])
    assert found["mean"].tolist() == [0.5] and found["n"].tolist() == [1]


def test_every_seed_is_a_training_and_noise_of_its_own(run, monkeypatch):
    jobs, made = [], []
    judged = SimpleNamespace(table=pd.DataFrame({"name": ["a"], **dict.fromkeys(METRICS, 0.0)}), videos=[], failures=[])
    monkeypatch.setattr(
        experiments, "run_jobs", lambda _, asked, label: jobs.extend(asked) or [{"s": judged}] * len(jobs)
    )
    monkeypatch.setattr(Run, "reference", lambda *_: [])
    experiments.score(run, {"m": made.append, "ideal": None, "frozen": None}, {"s": []}, [4, 7])
    asked = [(name, seed) for _, name, seed, *_ in jobs]
    assert asked == [("m", 4), ("m", 7), ("ideal", 4), ("ideal", 7), ("frozen", 4)]
    filmed = []
    monkeypatch.setattr(Run, "generate", lambda self, model, truths, seed: filmed.append(seed) or [])
    monkeypatch.setattr(experiments, "evaluate_videos", lambda *_: None)
    for job in jobs[:2]:
        experiments._judged(*job)
    assert made == filmed == [4, 7]


def test_trainings_get_their_seed(run, monkeypatch):
    seeds = []
    for name in ("oro_clips", "oro_folder", "judged_by", "latents", "psft_folder", "base"):
        monkeypatch.setattr(Run, name, lambda *_, **__: {})
    monkeypatch.setattr(run_module, "load_rewards", lambda *_: {})
    tune = lambda tuned, clips, nets, settings, *_: seeds.append(settings.training.seed)  # noqa: E731
    monkeypatch.setattr(run_module.oro, "tune", tune)
    train = lambda base, cached, settings, *_: seeds.append(settings.seed)  # noqa: E731
    monkeypatch.setattr(run_module, "train_transformer", train)
    run.oro(None, "seg", 3)
    run.psft(8, 4, 3)
    assert len(seeds) > 1 and set(seeds) == {3}


def test_models_of_other_drops_learn_from_those(run, monkeypatch):
    asked = []

    def psft(self, clips, steps, seed, watch=None, stage="psft", place_weight=None):
        asked.append((stage, seed))

    monkeypatch.setattr(Run, "psft", psft)
    monkeypatch.setattr(Run, "energy", lambda *_: None)
    for name in STAGE_OF:
        run.model(name, 1)
    assert asked == [(stage, 1) for stage in STAGE_OF.values()]


def test_steps_are_chosen_on_validation_clips_alone(run, monkeypatch):
    asked, means = [], SimpleNamespace(table=pd.DataFrame({name: [1.0] for name in VALIDATED}))
    monkeypatch.setattr(Run, "held_out", lambda self, split: asked.append(split) or [])
    monkeypatch.setattr(Run, "generate", lambda *_: [])
    monkeypatch.setattr(run_module, "evaluate_videos", lambda *_, **__: means)
    run.validation(0, None)
    assert asked == ["validation"]


def test_replay_adds_generic_clips_and_pads_their_text(run, monkeypatch, tmp_path):
    given, asked = [], []

    def latents(self, seed, stage="psft"):
        asked.append(stage)
        return {"latents": np.ones((2, 1)), "text": np.ones((2, 3 if stage == "psft" else 4, 1))}

    monkeypatch.setattr(Run, "latents", latents)
    monkeypatch.setattr(Run, "psft_folder", lambda *_, **__: tmp_path / "x")
    monkeypatch.setattr(replay, "train_transformer", lambda base, cached, *_: given.append(cached))
    replay.with_replay(run, 0)
    assert asked == ["psft", "replay"]
    assert given[0]["text"][:, :, 0].tolist() == 2 * [[1, 1, 1, 0]] + 2 * [[1, 1, 1, 1]]


def test_tuning_on_values_has_the_clips_and_errors_of_its_own_videos(run, monkeypatch):
    given = []
    monkeypatch.setattr(Run, "model", lambda self, method, seed: self.base())
    monkeypatch.setattr(Run, "validation", lambda *_: {"fixed_l2": 1.0})
    monkeypatch.setattr(without_gradient, "tune_on", lambda model, made, clips, *_: given.append(clips) or model)
    made = without_gradient.pool(run, 0)
    without_gradient.tuned_on_values(run, "nft", 0)
    for name in ("text", "below"):
        assert np.array_equal(given[0][name], run.oro_clips(0)[name][:2])
    assert (made["error"][:, 0] != made["error"][:, 1]).any(), "each video has an error of its own"
