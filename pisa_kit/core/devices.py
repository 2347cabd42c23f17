"""Where models work: which process this is among those started together, and which device is its own."""

import atexit
import gc
import time

import torch
from accelerate import PartialState

from pisa_kit.core.storage import parsed


def processes() -> PartialState:
    """This process among those that `accelerate launch` or torchrun started together; alone without them."""
    return PartialState(cpu=no_gpu())


@atexit.register
def _part():
    """Processes that were started together leave in order: one that just ends can abort on its way out.

    Gloo's threads let go of gathered tensors a moment after their work is done, and need the interpreter for it.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        time.sleep(1)


def device() -> torch.device:
    """Where models work: this process's GPU, or the CPU."""
    return processes().device


def release() -> None:
    """Gives back the GPU memory that nothing uses any more; models hold it in circles until they are collected."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def check_device(device: str):
    """Raises InputError unless torch can use the device."""
    with parsed("arguments", "device", f"{device!r} cannot be used", "Use cpu."):
        torch.empty(1, device=device)


def no_gpu() -> bool:
    """Is there no CUDA device? accelerate must be told, or it starts no processes on CPUs."""
    return not torch.cuda.is_available()
