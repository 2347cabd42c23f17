"""AdamW, or Muon for the matrices of a network and AdamW for the rest."""

import torch
from torch import nn

from pisa_kit.training.settings import Training
from pisa_kit.training.sharding import split_like


class Optimizer:
    """What `training.train` steps: one or two torch optimizers over a model's parameters.

    Muon (torch.optim.Muon) takes matrices only. A convolution's weight (out, in, ...) is one as (out, the rest); a view
    of that shape shares its memory. It makes the embedded autoencoder converge in a quarter of AdamW's steps.

    Args:
        parameters: on their final device, because views of them are kept.
        settings: `optimizer` "adamw" or "muon"; for Muon, `learning_rate` is that of the matrices (scaled to the size
            of AdamW's updates) and the rest learns at half of it.
    """

    def __init__(self, parameters: list[nn.Parameter], settings: Training):
        self.parameters = parameters
        self.matrices = [p for p in parameters if settings.optimizer == "muon" and _is_matrix(p)]
        self.views = [nn.Parameter(p.detach().view(len(p), -1)) for p in self.matrices]
        taken = set(map(id, self.matrices))
        rest = [p for p in parameters if id(p) not in taken]
        rate, decay = settings.learning_rate, settings.weight_decay
        self.parts = []
        if self.views:
            self.parts.append(torch.optim.Muon(self.views, rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
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


def _is_matrix(parameter: nn.Parameter) -> bool:
    return min(len(parameter), parameter.numel() // len(parameter)) > 1 if parameter.ndim > 1 else False
