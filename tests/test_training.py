"""The training loop: exact resumption, guards, checkpoints that survive."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from pisa_kit.core.errors import InputError
from pisa_kit.training import loop, optimizers
from pisa_kit.training.loop import TrainingError, train
from pisa_kit.training.settings import Training

SETTINGS = Training(steps=12, batch=8, learning_rate=0.05, warmup=3, ema=0.8, checkpoint_every=5, log_every=2)
TARGET = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.7, -0.4]])


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2, bias=False)


def make_batch(step: int, process: int, processes: int) -> torch.Tensor:
    return torch.randn(8, 3, generator=loop.seeded(7, step))[process::processes]


def loss(model, batch, generator) -> dict[str, torch.Tensor]:
    noise = 0.01 * torch.randn(len(batch), 2, generator=generator)
    error = (model(batch) - batch @ TARGET.T - noise).square().mean()
    return {"loss": error, "error": error.detach().sqrt()}


def weights(model: nn.Module) -> torch.Tensor:
    return model.weight.detach().clone()


def test_it_learns_and_logs_every_term(tmp_path):
    settings = replace(SETTINGS, steps=200)
    model = train(make_model(), loss, make_batch, settings, tmp_path)
    assert torch.allclose(weights(model), TARGET, atol=0.02)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(2, 201, 2))
    assert {"loss", "error", "gradient", "lr", "seconds"} <= set(lines[0]) and lines[-1]["error"] < 0.1
    assert json.loads((tmp_path / "settings.json").read_text())["steps"] == 200


def test_learning_rate_grows_stays_and_falls():
    rates = [SETTINGS.learning_rate_at(step) / SETTINGS.learning_rate for step in range(12)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1]) and rates[5] == 1
    assert rates[-1] == pytest.approx(1 / 2.4) and rates[-2] == pytest.approx(2 / 2.4)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("killed_at", [1, 5, 9])
def test_killed_and_continued_gives_the_same_weights_bit_for_bit(tmp_path, killed_at, optimizer):
    settings = replace(SETTINGS, optimizer=optimizer)
    whole = weights(train(make_model(), loss, make_batch, settings, tmp_path / "whole"))

    def dying(model, batch, generator, calls=[]):  # noqa: B006
        calls.append(1)
        if len(calls) > killed_at:
            raise KeyboardInterrupt
        return loss(model, batch, generator)

    with pytest.raises(KeyboardInterrupt):
        train(make_model(), dying, make_batch, settings, tmp_path / "part")
    with open(tmp_path / "part" / "log.jsonl", "a") as log:
        log.write('{"loss": 0.1, "st')  # killed while it wrote
    continued = weights(train(make_model(), loss, make_batch, settings, tmp_path / "part"))
    assert torch.equal(whole, continued)
    steps = [json.loads(line)["step"] for line in (tmp_path / "part" / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6, 8, 10, 12]


def test_kill_9_loses_nothing(tmp_path):
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_training as t
def dying(model, batch, generator, calls=[]):
    calls.append(1)
    if len(calls) == 9:
        os.kill(os.getpid(), 9)
    return t.loss(model, batch, generator)
t.train(t.make_model(), dying, t.make_batch, t.SETTINGS, {str(tmp_path / "part")!r})
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -9
    continued = weights(train(make_model(), loss, make_batch, SETTINGS, tmp_path / "part"))
    assert torch.equal(weights(train(make_model(), loss, make_batch, SETTINGS, tmp_path / "whole")), continued)


def test_a_loss_that_is_not_finite_names_the_step_and_keeps_the_checkpoint(tmp_path):
    def broken(step, process, processes):
        return make_batch(step, process, processes) * (float("nan") if step == 7 else 1)

    with pytest.raises(TrainingError, match="step 7: loss, error, gradient is not finite"):
        train(make_model(), loss, broken, SETTINGS, tmp_path)
    assert loop.load_checkpoint(*_checkpoint_arguments(tmp_path)) == 5


def _checkpoint_arguments(folder: Path, model: nn.Module | None = None, settings: Training = SETTINGS):
    model = model or make_model()
    optimizer = optimizers.Optimizer(list(model.parameters()), settings)
    return folder / "checkpoint.safetensors", model, optimizer, loop.EMAModel(model.parameters()), settings


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path, monkeypatch):
    train(make_model(), loss, make_batch, replace(SETTINGS, steps=5), tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop.safetensors.torch, "save_file", full)
    with pytest.raises(
        InputError, match="checkpoint: cannot be written .*No space left.* earlier checkpoint is intact"
    ):
        train(make_model(), loss, make_batch, SETTINGS, tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_foreign_checkpoints_are_refused(tmp_path):
    train(make_model(), loss, make_batch, replace(SETTINGS, steps=5), tmp_path)
    with pytest.raises(InputError, match="checkpoint.safetensors: weights: belong to another model"):
        loop.load_checkpoint(*_checkpoint_arguments(tmp_path, nn.Linear(4, 2, bias=False)))
    other = replace(SETTINGS, learning_rate=0.1)
    with pytest.raises(InputError, match="checkpoint.safetensors: learning_rate: differ"):
        loop.load_checkpoint(*_checkpoint_arguments(tmp_path, settings=other))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="checkpoint.safetensors: weights: are damaged"):
        loop.load_checkpoint(*_checkpoint_arguments(tmp_path))


@pytest.mark.parametrize("field, value", [("steps", 0), ("ema", 1.0), ("precision", "bf61"), ("learning_rate", -1.0)])
def test_bad_settings_name_the_field(field, value):
    with pytest.raises(InputError, match=field):
        replace(SETTINGS, **{field: value})


@pytest.mark.parametrize("split, optimizers", [(False, ["adamw"]), (True, ["adamw", "muon"])])
def test_two_processes_train_to_the_weights_of_one(tmp_path, split, optimizers):
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_training as t
loss = lambda model, batch, generator: t.loss(model, batch, t.loop.seeded(0))
batch = lambda step, process, processes: t.make_batch(step, process, processes)
for optimizer in {optimizers}:
    for steps in (6, 12):
        settings = t.replace(t.SETTINGS, optimizer=optimizer, steps=steps)
        t.train(t.make_model(), loss, batch, settings, {str(tmp_path)!r} + "/two_" + optimizer)
"""
    (tmp_path / "script.py").write_text(code)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(tmp_path / "script.py")]
    environment = os.environ | {"ACCELERATE_USE_FSDP": str(split).lower()}  # as `accelerate launch --use_fsdp` sets it
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-6000:]

    def one(model, batch, generator):
        halves = [loss(model, batch[process::2], loop.seeded(0)) for process in (0, 1)]
        return {name: sum(half[name] for half in halves) / 2 for name in halves[0]}

    for optimizer in optimizers:
        settings, folder = replace(SETTINGS, optimizer=optimizer), tmp_path / f"two_{optimizer}"
        for steps in (6, 12):
            single = train(make_model(), one, make_batch, replace(settings, steps=steps), tmp_path / f"one_{optimizer}")
        continued = train(make_model(), loss, make_batch, settings, folder)  # finished: only loads
        tolerance = {"adamw": 1e-6, "muon": 2e-5}[optimizer]  # Muon amplifies rounding
        torch.testing.assert_close(weights(continued), weights(single), atol=tolerance, rtol=0)
        lines = (folder / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [2, 4, 6, 8, 10, 12], "one process writes the log"


def test_trackers_follow_the_log_and_an_unknown_one_is_refused(tmp_path, monkeypatch):
    train(make_model(), loss, make_batch, replace(SETTINGS, steps=6), tmp_path)
    train(make_model(), loss, make_batch, SETTINGS, tmp_path)  # continued: no step is recorded twice
    events = EventAccumulator(str(tmp_path / "pisa_kit")).Reload()
    lines = loop.read_log(tmp_path)
    recorded = {event.step: event.value for event in events.Scalars("loss")}
    assert recorded == {line["step"]: pytest.approx(line["loss"], rel=1e-5) for line in lines}
    monkeypatch.setenv(loop.LOG_WITH, "tensorbord")
    with pytest.raises(InputError, match="tracker.*tensorboard"):
        train(make_model(), loss, make_batch, SETTINGS, tmp_path / "other")
    monkeypatch.setenv(loop.LOG_WITH, "swanlab")
    with pytest.raises(InputError, match="swanlab is not installed"):
        train(make_model(), loss, make_batch, SETTINGS, tmp_path / "other")
    monkeypatch.setenv(loop.LOG_WITH, "")
    train(make_model(), loss, make_batch, SETTINGS, tmp_path / "none")
    assert not (tmp_path / "none" / "pisa_kit").exists()


def test_too_little_gpu_memory_says_what_would_fit(tmp_path):
    def large(model, batch, generator):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with pytest.raises(TrainingError, match="step 0: CUDA out of memory.*Lower the batch.*pisa plan"):
        train(make_model(), large, make_batch, SETTINGS, tmp_path)
