"""What one step of reward tuning costs: seconds, and the memory that its tensors hold at once."""

import time
import weakref
from dataclasses import replace

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pisa_kit.core.devices import device
from pisa_kit.models.conditioning import condition
from pisa_kit.models.embedded import BASE, load
from pisa_kit.perception.tensors import to_video
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.training.loop import seeded
from pisa_kit.training.oro import oro_loss
from pisa_kit.training.rewards import load_rewards
from pisa_kit.training.settings import OroSettings

MEBIBYTE = 2**20


class PeakMemory(TorchDispatchMode):
    """Counts the memory of tensors made while it is active, forward and backward, on any device.

    What the kernels use inside and what the allocator keeps back is left out, so that the number is the same on every
    machine. `peak`: the most that they held at once, bytes.
    """

    def __init__(self):
        super().__init__()
        self.peak = self._now = 0
        self._seen = weakref.WeakSet()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {id(storage) for storage in self._storages((args, kwargs))}
        result = function(*args, **(kwargs or {}))
        for storage in self._storages(result):
            if id(storage) not in given and storage not in self._seen:
                self._seen.add(storage)
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes())
        return result

    @staticmethod
    def _storages(values) -> list[torch.UntypedStorage]:
        return [each.untyped_storage() for each in tree_leaves(values) if isinstance(each, torch.Tensor)]

    def _add(self, size: int) -> None:
        self._now += size
        self.peak = max(self.peak, self._now)


def step_cost(settings: OroSettings, model=BASE, rounds: int = 3) -> dict[str, float]:
    """Forward and backward of one ORO step, without the optimizer.

    Args:
        settings: the batch size is that of its training; the anchor is left out.
        model: folder of the pipeline.
        rounds: repetitions; the median of the seconds is returned, NaN without any.

    Returns:
        "mib": the most that the step's tensors hold at once, besides what was there before it; "seconds".
    """
    pipeline, clips = load(model), [simulate(sample(seed)) for seed in range(settings.training.batch)]
    video = to_video(np.stack([clip.frames for clip in clips]))
    cond = condition(pipeline, video[:, :, 0], [clip.caption for clip in clips])
    batch = {"first": cond.first, "text": cond.text, "video": video}
    batch["masks"] = torch.from_numpy(np.stack([clip.dropped for clip in clips]))
    batch["latent_frames"] = (video.shape[2] - 1) // pipeline.vae.config.scale_factor_temporal + 1
    batch, rewards = send_to_device(batch, device()), load_rewards(settings.weights, device=device())
    loss = oro_loss(pipeline, pipeline, rewards, replace(settings, reference_weight=0.0))

    def step(number: int) -> None:
        loss(pipeline.transformer, batch, seeded(number))["loss"].backward()
        pipeline.transformer.zero_grad()

    with PeakMemory() as memory:
        step(0)
    seconds = []
    for number in range(rounds):
        start = time.perf_counter()
        step(number)
        seconds.append(time.perf_counter() - start)
    return {"mib": memory.peak / MEBIBYTE, "seconds": float(np.median(seconds)) if seconds else np.nan}
