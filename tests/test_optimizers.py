"""Muon for matrices, AdamW for the rest: the right parameters, one learning rate, an exact state."""

import torch
from torch import nn

from pisa_kit.training.optimizers import Muon, Optimizer
from pisa_kit.training.settings import Training

SETTINGS = Training(steps=10, batch=1, learning_rate=0.1, optimizer="muon")


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(2, 4, (1, 2, 2)), nn.GroupNorm(1, 4), nn.Conv3d(4, 1, 1))


def step(model: nn.Module, optimizer: Optimizer, share: float = 1.0):
    video = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    model(video).square().mean().backward()
    optimizer.step(share)
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_convolution_gets_an_orthogonal_update():
    model = make_model()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = Optimizer(list(model.parameters()), SETTINGS)
    assert [len(part.param_groups[0]["params"]) for part in optimizer.parts] == [1, 5], "one row is no matrix"
    step(model, optimizer)
    update = (model[0].weight - before[0]).detach().view(4, -1)
    values = torch.linalg.svdvals(update)
    size = 0.1 * 0.2 * 8**0.5  # learning rate, and match_rms_adamw's 0.2 sqrt(longest side)
    assert values.max() / values.min() < 2.5 and 0.5 * size < values.mean() < 1.5 * size
    vectors = [(p - b).detach().abs().max() for p, b in list(zip(model.parameters(), before, strict=True))[1:]]
    assert max(vectors) <= 0.0501, "the rest learns with half the rate"


def test_the_share_scales_the_step():
    moved = []
    for share in (1.0, 0.1):
        model = make_model()
        before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        step(model, Optimizer(list(model.parameters()), SETTINGS), share)
        moved.append(nn.utils.parameters_to_vector(model.parameters()).detach() - before)
    torch.testing.assert_close(moved[0] / 10, moved[1], atol=1e-6, rtol=1e-3)


def test_a_restored_state_takes_the_same_steps():
    models = [make_model(), make_model()]
    optimizers = [Optimizer(list(model.parameters()), SETTINGS) for model in models]
    step(models[0], optimizers[0])
    models[1].load_state_dict(models[0].state_dict())
    optimizers[1].load_state({name: value.clone() for name, value in optimizers[0].state().items()})
    for model, optimizer in zip(models, optimizers, strict=True):
        step(model, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


def test_muon_is_torchs_in_float32():
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((24, 24), (96, 24), (24, 96))]
    ours, torchs = ([nn.Parameter(matrix.clone()) for matrix in start] for _ in range(2))
    optimizers = [Muon(ours, 0.01, 0.1), torch.optim.Muon(torchs, 0.01, 0.1, adjust_lr_fn="match_rms_adamw")]
    for _ in range(5):
        for a, b in zip(ours, torchs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b, first in zip(ours, torchs, start, strict=True):
        assert (a - b).norm() < 0.02 * (b - first).norm(), "bfloat16 rounds to 0.4 %"
