"""Weights split over processes (FSDP), for models that do not fit one card: `accelerate launch --use_fsdp`.

Each process holds a slice of every weight, gradient, average and moment; a block's weights are put together while it
works. This is torch's `fully_shard` (FSDP2), used directly: accelerate's needs a GPU and one optimizer it knows.
"""

import os
import warnings

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from pisa_kit.core.devices import processes


def sharded() -> bool:
    """Do several processes share one model's weights? So says what `accelerate launch --use_fsdp` sets."""
    return processes().num_processes > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def shard(model: nn.Module) -> nn.Module:
    """Splits the model's weights over all processes, in place: block by block, and the rest together."""
    warnings.filterwarnings("ignore", ".*returned a view tensor")  # nothing here writes into what a model returns
    mesh = init_device_mesh(processes().device.type, (processes().num_processes,))
    for blocks in model.children():
        for block in blocks if isinstance(blocks, nn.ModuleList) else ():
            fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, put together from all processes' slices if it is split: each process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def split_like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """This process's slice of a whole tensor, split as the other one is; the tensor itself if that is not."""
    if not isinstance(other, DTensor) or tensor.shape != other.shape:
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)
