"""Seconds and memory of a tuning step: more steps with gradients cost more, checkpointing costs less memory."""

import time
from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from pisa_kit.study import cost
from pisa_kit.study.cost import PeakMemory, step_cost
from pisa_kit.training.settings import OroSettings, Training

SETTINGS = OroSettings(Training(steps=1, batch=1, learning_rate=1e-4), {"seg": 1.0}, sampling_steps=6)


def test_memory_is_that_of_tensors_alive_at_once():
    there = torch.ones(1000)
    with PeakMemory() as memory:
        there.add_(1).view(10, 100)  # nothing new
        one = there * 2
        other = torch.zeros(3000)
        del one, other
        last = torch.zeros(2000)
    assert memory.peak == 4 * (1000 + 3000) and last.sum() == 0


def test_memory_is_what_torchs_profiler_sees():
    net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 64))
    batch = torch.rand(512, 64)
    with PeakMemory() as memory:
        net(batch).square().mean().backward()
    net.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        net(batch).square().mean().backward()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    held = torch.tensor(sizes).cumsum(0).max().item()
    assert 0.95 * held < memory.peak <= held


@pytest.fixture
def one_thread():  # threads of two processes that share a core make seconds mean nothing
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_memory_grows_with_the_steps_and_shrinks_with_checkpointing(one_thread, monkeypatch):
    monkeypatch.setattr(cost.time, "perf_counter", time.process_time)  # not what other processes do
    one, whole = (step_cost(replace(SETTINGS, gradient_steps=through), rounds=3) for through in (1, 6))
    again = step_cost(replace(SETTINGS, gradient_steps=6, gradient_checkpointing="all"), rounds=0)
    assert 0 < one["mib"] < 0.6 * whole["mib"] and again["mib"] < 0.6 * whole["mib"]
    assert 0 < one["seconds"] < whole["seconds"]


def test_memory_is_the_same_every_time():
    settings = replace(SETTINGS, gradient_steps=1)
    assert step_cost(settings, rounds=0)["mib"] == step_cost(settings, rounds=1)["mib"]
