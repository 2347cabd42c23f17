"""Operations and memory of a model's work, counted on tensors without data (torch's meta device)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5EncoderModel, UMT5EncoderModel

from pisa_kit.core.errors import check_choice
from pisa_kit.core.storage import DATA, read_json
from pisa_kit.models.conditioning import token_timesteps
from pisa_kit.models.embedded import BASE
from pisa_kit.models.families import Wan, family_in, family_of
from pisa_kit.perception.depth import video_depth
from pisa_kit.perception.flow import video_flow
from pisa_kit.perception.nets import Block, DepthNet, FlowNet, MaskTracker
from pisa_kit.study.settings import Preset
from pisa_kit.training.rewards import REWARD_FUNCTIONS

ENCODERS = {kind.__name__: kind for kind in (T5EncoderModel, UMT5EncoderModel)}
SHAPES = ("wan2.2-ti2v-5b",)  # of real models, in `data`, so that a plan needs no download


@dataclass(frozen=True)
class Parts:
    """A model's networks without data (on the meta device)."""

    transformer: nn.Module
    autoencoder: nn.Module
    text_encoder: nn.Module
    prompt_tokens: int

    @property
    def family(self):
        return family_of(self.transformer)

    def latents(self, preset: Preset, clips: int) -> torch.Tensor:
        """Latents (B, C, t, h, w) of the preset's videos."""
        video, config = preset.data.video, self.autoencoder.config
        frames, side = getattr(config, "scale_factor_temporal", 8), getattr(config, "scale_factor_spatial", 32)
        channels = self.transformer.config.in_channels
        shape = (clips, channels, (video.frames - 1) // frames + 1, video.size // side, video.size // side)
        return torch.empty(shape, device="meta")


def skeleton(model=None) -> Parts:
    """The networks of a model, from its configurations alone.

    Args:
        model: folder in diffusers' format, a name in `SHAPES`, or None for the embedded model.

    Raises:
        InputError: neither, or a kind that cannot be trained here.
    """
    folder = Path(model or BASE)
    if model is not None and not folder.exists():
        family, encoder = Wan, "UMT5EncoderModel"
        configs = read_json(DATA / f"{check_choice(str(model), SHAPES, 'model')}.json")
        limit = family.prompt_tokens
    else:
        family, encoder = family_in(folder), read_json(folder / "model_index.json")["text_encoder"][1]
        configs = {part: read_json(folder / part / "config.json") for part in ("transformer", "vae", "text_encoder")}
        tokenizer = read_json(folder / "tokenizer" / "tokenizer_config.json")
        limit = min(family.prompt_tokens, tokenizer.get("model_max_length", family.prompt_tokens))
    text_encoder = ENCODERS[check_choice(encoder, ENCODERS, "text encoder")]
    with torch.device("meta"):
        transformer = family.transformer.from_config(configs["transformer"])
        autoencoder = family.autoencoder.from_config(configs["vae"])
        return Parts(
            transformer, autoencoder, text_encoder(text_encoder.config_class(**configs["text_encoder"])), limit
        )


@dataclass(frozen=True)
class Count:
    """Floating-point operations, and bytes that the backward pass needs (weights left out)."""

    operations: float
    kept: float

    def __rmul__(self, clips: int) -> "Count":
        """Of a batch, where this is one clip's (0.2% more than a batch keeps: what its clips share)."""
        return Count(clips * self.operations, clips * self.kept)


class _Attention(torch.autograd.Function):
    """Attention as fused kernels do it: nothing of the size tokens x tokens is kept."""

    @staticmethod
    def forward(context, q, k, v):
        context.save_for_backward(q, k, v)
        return torch.empty_like(q)

    @staticmethod
    def backward(context, gradient):
        return tuple(torch.empty_like(each) for each in context.saved_tensors)


@contextmanager
def _fused(operations: list[float]) -> Iterator[None]:
    def attention(query, key, value, attn_mask=None, *_, **__):
        operations.append(4.0 * query.shape[:-1].numel() * key.shape[-2] * query.shape[-1])
        return _Attention.apply(query, key, value)

    with patch("torch.nn.functional.scaled_dot_product_attention", attention):
        yield


def count(function: Callable[[], torch.Tensor], weights: nn.Module) -> Count:
    """Counts the forward pass of `function` on the meta device.

    Args:
        weights: whose parameters are not counted as kept.
    """
    own, kept, attention = {parameter.untyped_storage()._cdata for parameter in weights.parameters()}, {}, []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = (storage.nbytes(), storage)  # held, so that no address is used twice
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, hooks, _fused(attention):
        function()
    return Count(counter.get_total_flops() + sum(attention), float(sum(size for size, _ in kept.values())))


def forward(parts: Parts, preset: Preset, clips: int, dtype: torch.dtype) -> Count:
    """One call of the transformer, with gradients."""
    latents = parts.latents(preset, clips)
    timestep = token_timesteps(parts.transformer, latents, torch.empty(clips, device="meta"))
    config, width = parts.transformer.config, parts.prompt_tokens
    text = torch.empty(clips, width, config.get("text_dim") or config.caption_channels, device="meta", dtype=dtype)
    model = nn.Module.to(parts.transformer, dtype).requires_grad_(True)  # diffusers' own `to` warns
    return count(lambda: parts.family.predict(model, config, latents.to(dtype), timestep, text), model)


def decoding(parts: Parts, preset: Preset, clips: int, dtype: torch.dtype) -> Count:
    """One call of the decoder, with gradients for the latents."""
    codec, latents = nn.Module.to(parts.autoencoder, dtype), parts.latents(preset, clips).to(dtype).requires_grad_(True)
    return count(lambda: parts.family.decode(codec, latents), codec)


def looking(preset: Preset, clips: int) -> Count:
    """The costliest run of `Preset.rewards`: the nets that ship on its videos, with gradients (not real ones)."""
    size, runs = preset.data.video, []
    with torch.device("meta"):
        nets = {"tracker": MaskTracker(), "flow": FlowNet(), "depth": DepthNet()}
        video = torch.empty(clips, 3, size.frames, size.size, size.size, requires_grad=True)
        start = torch.empty(clips, size.size, size.size)
    calls = {
        "tracker": lambda: nets["tracker"](video, start)[0].sigmoid(),
        "flow": lambda: video_flow(nets["flow"], video),
        "depth": lambda: video_depth(nets["depth"], video),
    }
    costs = {name: _blocks(nets[name], call) for name, call in calls.items()}
    for names in preset.oro.rewards.values():
        used = [costs[REWARD_FUNCTIONS[name][1]] for name in names]
        runs.append(Count(sum(one.operations for one in used), sum(one.kept for one in used)))
    return max(runs, key=lambda run: run.kept)


def _blocks(net: nn.Module, call: Callable[[], torch.Tensor]) -> Count:
    """A perception net in a backward pass that keeps each block's input and computes one block again at a time."""
    inputs = []
    for block in net.modules():
        if isinstance(block, Block):
            block.register_forward_pre_hook(lambda _, given: inputs.append(given[0].nbytes))
    counted = count(call, net)
    return Count(counted.operations * 4 / 3, sum(inputs) + counted.kept / len(inputs))


def activations(parts: Parts, one: Count, latents: torch.Tensor, dtype: torch.dtype) -> float:
    """Bytes where the transformer's blocks are computed again: the inputs of all, and what is in one of them."""
    config, model = parts.transformer.config, parts.transformer
    blocks = len(getattr(model, "blocks", None) or model.transformer_blocks)
    tokens = latents[:, 0].numel() / torch.Size(parts.family.patch(config)).numel()
    width = config.num_attention_heads * config.attention_head_dim
    return blocks * tokens * width * dtype.itemsize + one.kept / blocks


def tuning_activations(
    parts: Parts, preset: Preset, counted: tuple[Count, Count, Count], again: bool, dtype: torch.dtype
) -> float:
    """Bytes that the backward pass of an ORO step needs.

    Args:
        counted: `forward`, `decoding` and `looking` for a batch.
        again: the transformer's blocks are computed again, too.
    """
    one, pixels, seen = counted
    tuning, batch = preset.oro.tuning, preset.oro.tuning.training.batch
    latents = parts.latents(preset, batch)
    through = tuning.gradient_steps or tuning.sampling_steps
    calls = through * (2 if tuning.guidance > 1 else 1)
    held = calls * (activations(parts, one, latents, dtype) if again else one.kept)
    if tuning.gradient_checkpointing == "nothing":
        return held + pixels.kept + seen.kept
    clips = min(2, batch)  # measured: what one clip keeps, and as much while it is computed again
    return held + pixels.kept / latents.shape[2] + seen.kept * clips / batch
