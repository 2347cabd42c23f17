"""AdamW, or Muon for the matrices of a network and AdamW for the rest.

Muon: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; its step scaled to AdamW's: Liu et al. 2025,
arXiv:2502.16982, section 2.2. torch.optim.Muon orthogonalizes in bfloat16, which a CPU without that arithmetic
emulates: one step of the embedded transformer took 8 s there. Here it is float32 on a CPU, and takes 0.2 s.
"""

import torch
from torch import nn

from pisa_kit.training.settings import Training
from pisa_kit.training.sharding import split_like


class Muon(torch.optim.Optimizer):
    """Momentum whose every update is made orthogonal: torch.optim.Muon with `adjust_lr_fn="match_rms_adamw"`."""

    def __init__(self, matrices: list[nn.Parameter], lr: float, weight_decay: float = 0.0, momentum: float = 0.95):
        super().__init__(matrices, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                mean = state["momentum_buffer"].lerp_(matrix.grad, 1 - group["momentum"])
                update = orthogonal(matrix.grad.lerp(mean, group["momentum"]))  # Nesterov's look ahead
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update.to(matrix.dtype), alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


def orthogonal(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """A matrix (rows, columns) with its singular values moved to about 1 (0.7 to 1.2), by Newton-Schulz iterations."""
    x = matrix.float() if matrix.device.type == "cpu" else matrix.bfloat16()
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Optimizer:
    """What `loop.train` steps: one or two torch optimizers over a model's parameters.

    Muon takes matrices only. A convolution's weight (out, in, ...) is one as (out, the rest); a view
    of that shape shares its memory. It makes the embedded autoencoder converge in a quarter of AdamW's steps.

    Args:
        parameters: on their final device, because views of them are kept.
        settings: `optimizer` "adamw" or "muon"; for Muon, `learning_rate` is that of the matrices (scaled to the size
            of AdamW's updates) and the rest learns at half of it.
    """

    def __init__(self, parameters: list[nn.Parameter], settings: Training):
        muon = [settings.optimizer == "muon" and p.ndim > 1 and min(len(p), p[0].numel()) > 1 for p in parameters]
        self.parameters, self.matrices = parameters, [p for p, chosen in zip(parameters, muon, strict=True) if chosen]
        self.views = [nn.Parameter(p.detach().view(len(p), -1)) for p in self.matrices]
        rest = [p for p, chosen in zip(parameters, muon, strict=True) if not chosen]
        rate, decay = settings.learning_rate, settings.weight_decay
        self.parts = []
        if self.views:
            self.parts.append(Muon(self.views, rate, decay))
            rate /= 2
        if rest:
            self.parts.append(torch.optim.AdamW(rest, rate, weight_decay=decay, eps=settings.epsilon, fused=True))
        self.rates = [part.param_groups[0]["lr"] for part in self.parts]

    def step(self, share: float = 1.0):
        """One update with `share` of the learning rate."""
        for view, matrix in zip(self.views, self.matrices, strict=True):
            view.grad = matrix.grad.view_as(view) if matrix.grad is not None else None
        for part, rate in zip(self.parts, self.rates, strict=True):
            part.param_groups[0]["lr"] = rate * share
            part.step()

    def zero_grad(self):
        for parameter in (*self.parameters, *self.views):
            parameter.grad = None

    def state(self) -> dict[str, torch.Tensor]:
        """Every tensor that an update depends on, by "part.index.name"."""
        states = ((number, part.state_dict()["state"]) for number, part in enumerate(self.parts))
        return {f"{n}.{i}.{name}": value for n, state in states for i, s in state.items() for name, value in s.items()}

    def load_state(self, tensors: dict[str, torch.Tensor]):
        """Restores what `state` gave."""
        for number, part in enumerate(self.parts):
            state = {}
            for key, value in tensors.items():
                owner, index, name = key.split(".", 2)
                if int(owner) == number:
                    parameter = part.param_groups[0]["params"][int(index)]
                    state.setdefault(int(index), {})[name] = split_like(value, parameter)
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
