"""What a study will need, before it starts: operations and memory counted on tensors without data, time from a matmul.

Weights and activations are those of the real shapes on torch's meta device, so nothing is downloaded or computed. What
is not counted: the few hundred MB of the CUDA context, memory fragments, and the notebooks' own tracking and drawing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from pisa_kit.core.devices import device
from pisa_kit.core.errors import check_choice
from pisa_kit.core.storage import read_json
from pisa_kit.models.conditioning import token_timesteps
from pisa_kit.models.embedded import BASE
from pisa_kit.models.families import family_in, family_of
from pisa_kit.perception.depth import video_depth
from pisa_kit.perception.flow import video_flow
from pisa_kit.perception.nets import Block, DepthNet, FlowNet, MaskTracker
from pisa_kit.study.presets import Preset
from pisa_kit.training.psft import LARGE, LORA_LAYERS
from pisa_kit.training.rewards import MAKERS
from pisa_kit.training.settings import Training

STATE = 16  # bytes per trained weight: gradient, two moments of AdamW, and the average, in float32
EFFICIENCY = {"cpu": 0.9, "cuda": 0.4}  # of a large matmul's speed; cpu: measured on the embedded model, cuda: a guess
SHAPES = {  # of real models, so that a plan needs no download
    "wan2.2-ti2v-5b": (
        (
            WanTransformer3DModel,
            {
                "num_attention_heads": 24,
                "attention_head_dim": 128,
                "in_channels": 48,
                "out_channels": 48,
                "text_dim": 4096,
                "freq_dim": 256,
                "ffn_dim": 14336,
                "num_layers": 30,
            },
        ),
        (
            AutoencoderKLWan,
            {
                "base_dim": 160,
                "decoder_base_dim": 256,
                "z_dim": 48,
                "dim_mult": [1, 2, 4, 4],
                "num_res_blocks": 2,
                "temperal_downsample": [False, True, True],
                "is_residual": True,
                "in_channels": 12,
                "out_channels": 12,
                "patch_size": 2,
                "latents_mean": [0.0] * 48,
                "latents_std": [1.0] * 48,
                "scale_factor_temporal": 4,
                "scale_factor_spatial": 16,
            },
        ),
        {"vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64},
    )
}


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
    with torch.device("meta"):
        if model is not None and not Path(model).exists():
            kinds = SHAPES[check_choice(str(model), SHAPES, "model")]
            made = [kind(**shape) for kind, shape in kinds[:2]]
            return Parts(*made, UMT5EncoderModel(UMT5Config(**kinds[2])), family_of(made[0]).prompt_tokens)
        folder = Path(model or BASE)
        family = family_in(folder)
        kinds = {"transformer": family.transformer, "vae": family.autoencoder}
        made = [kind.from_config(read_json(folder / part / "config.json")) for part, kind in kinds.items()]
        text = {"T5EncoderModel": (T5EncoderModel, T5Config), "UMT5EncoderModel": (UMT5EncoderModel, UMT5Config)}
        encoder, config = text[read_json(folder / "model_index.json")["text_encoder"][1]]
        made.append(encoder(config(**read_json(folder / "text_encoder" / "config.json"))))
        limit = read_json(folder / "tokenizer" / "tokenizer_config.json").get("model_max_length", family.prompt_tokens)
        return Parts(*made, min(family.prompt_tokens, limit))


@dataclass(frozen=True)
class Count:
    """Floating-point operations, and bytes that the backward pass needs (weights left out)."""

    operations: float
    kept: float


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
    model = parts.transformer.to(dtype).requires_grad_(True)
    return count(lambda: parts.family.predict(model, config, latents.to(dtype), timestep, text), model)


def decoding(parts: Parts, preset: Preset, clips: int, dtype: torch.dtype) -> Count:
    """One call of the decoder, with gradients for the latents."""
    codec, latents = parts.autoencoder.to(dtype), parts.latents(preset, clips).to(dtype).requires_grad_(True)
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
        used = [costs[MAKERS[name][1]] for name in names]
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
    held = through * (activations(parts, one, latents, dtype) if again else one.kept)
    if tuning.gradient_checkpointing == "nothing":
        return held + pixels.kept + seen.kept
    clips = min(2, batch)  # this one, and the one before it that the tracker remembers (`rewards.Once`)
    return held + pixels.kept / latents.shape[2] + seen.kept * clips / batch


def memory(parts: Parts, training: Training, dtype: torch.dtype) -> tuple[float, float]:
    """Bytes of the transformer's weights and of what training adds to them."""
    model = parts.transformer
    size, wide = sum(p.numel() for p in model.parameters()), torch.finfo(dtype).bits / 8
    if not training.lora_rank:
        return 4.0 * size, STATE * float(size)
    layers = [layer for name, layer in model.named_modules() if name.endswith(tuple(f".{one}" for one in LORA_LAYERS))]
    added = sum(training.lora_rank * (layer.in_features + layer.out_features) for layer in layers)
    return wide * size, (STATE + 4.0) * added


def machine_speed(dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Operations per second of a large matrix product on this machine's GPU, or its CPU."""
    place = device()
    side = 8192 if place.type == "cuda" else 1024
    matrix = torch.randn(side, side, device=place, dtype=dtype)
    rounds, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds or rounds < 3:
        matrix @ matrix
        rounds += 1
        if place.type == "cuda":
            torch.cuda.synchronize()
    return 2.0 * side**3 * rounds / (time.perf_counter() - began)


def plan(preset: Preset, model=None, speed: float | None = None) -> pd.DataFrame:
    """Memory, operations and time of every kind of work in a study.

    Args:
        preset: its numbers.
        model: see `skeleton`.
        speed: operations per second of a large matmul on the GPU to plan for; None: this machine, measured.

    Returns:
        A row per kind of work: "work", "memory" (GB on the device at most), "operations" (1e12 per step or video),
        "seconds" (per step or video), "count" (steps or videos in the whole study) and "hours".
    """
    parts, place = skeleton(model), "cuda" if speed else device().type
    low = place == "cuda" and preset.psft.training.precision == "bf16"
    dtype = torch.bfloat16 if low else torch.float32
    speed = (speed or machine_speed(dtype)) * EFFICIENCY[place]
    large = sum(p.numel() for p in parts.transformer.parameters()) > LARGE
    rows = []

    def row(work: str, bytes_: float, operations: float, number: int):
        seconds = operations / speed
        line = {"work": work, "memory": bytes_ / 1e9, "operations": operations / 1e12, "seconds": seconds}
        rows.append(line | {"count": number, "hours": number * seconds / 3600})

    training, batch = preset.psft.training, preset.psft.training.batch
    one = forward(parts, preset, batch, dtype)
    weights, state = memory(parts, training, dtype)
    steps = len(preset.seeds) * (
        training.steps  # on ambiguous drops
        + max(training.steps, *preset.psft.step_counts)
        + sum(preset.psft.data_steps for clips in preset.psft.data_sizes if clips != preset.psft.clips)
    )
    passes = 4 if large else 3  # forward, twice that backward, and forward again
    held = activations(parts, one, parts.latents(preset, batch), dtype) if large else one.kept
    row("PSFT step", weights + state + held, passes * one.operations, steps)

    tuning, batch = preset.oro.tuning, preset.oro.tuning.training.batch
    one, pixels = forward(parts, preset, batch, dtype), decoding(parts, preset, batch, dtype)
    weights, state = memory(parts, tuning.training, dtype)
    codec = sum(p.numel() for p in parts.autoencoder.parameters()) * dtype.itemsize
    through = tuning.gradient_steps or tuning.sampling_steps
    again, views = large or tuning.gradient_checkpointing == "all", tuning.gradient_checkpointing != "nothing"
    passes = (tuning.sampling_steps + 2) * one.operations + (3 if again else 2) * (through + 1) * one.operations
    seen = looking(preset, batch)
    held = tuning_activations(parts, preset, (one, pixels, seen), again, dtype)
    passes += (4 if views else 3) * (pixels.operations + seen.operations)
    runs = len(preset.seeds) * len(preset.oro.rewards) + len(preset.oro.gradient_steps) * len(preset.seeds) + 1
    steps = runs * max(tuning.eval_steps or (tuning.training.steps,))
    row("ORO step", weights + weights + state + codec + held, passes, steps)

    one, pixels = forward(parts, preset, 1, dtype), decoding(parts, preset, 1, dtype)
    nets = (parts.transformer, parts.autoencoder, parts.text_encoder)  # one of them is there at a time
    bytes_ = max(sum(p.numel() for p in net.parameters()) for net in nets) * dtype.itemsize
    row("video", bytes_, preset.sampling_steps * one.operations + pixels.operations, videos(preset))
    return pd.DataFrame(rows)


def videos(preset: Preset) -> int:
    """How many videos a study films, counted from the notebooks."""
    seeds, models = len(preset.seeds), 2 + len(preset.oro.rewards)
    cells = (len(preset.generalization.distances) - 1) * (len(preset.generalization.heights) - 1)
    each = 4 * preset.data.test_clips + cells * preset.generalization.clips + 2 * preset.generalization.pairs
    ablation = (len(preset.psft.data_sizes) + len(preset.psft.step_counts) - 1) * preset.data.test_clips
    validations = (len(preset.oro.rewards) * seeds + len(preset.oro.gradient_steps) * seeds + 1) * (
        1 + len(preset.oro.tuning.eval_steps)
    )
    pictures = seeds * 4 * preset.distribution.pictures * preset.distribution.worlds
    more = 2 * preset.data.generic_clips + 4 * preset.data.test_clips
    return seeds * (models * each + ablation) + validations * preset.data.validation_clips + pictures + more


def report(table: pd.DataFrame, elsewhere: bool) -> list[str]:
    """Text for a terminal, with what to change where this machine's GPU has too little memory.

    Args:
        elsewhere: the plan is for another machine's GPU.
    """
    line = "{:>10}  {:>9}  {:>14}  {:>10}  {:>7}  {:>7}".format
    text = [line("work", "memory GB", "TFLOP per piece", "seconds", "pieces", "hours")]
    for one in table.itertuples():
        cells = f"{one.memory:.1f}", f"{one.operations:.3g}", f"{one.seconds:.3g}", one.count, f"{one.hours:.2f}"
        text.append(line(one.work, *cells))
    text.append(f"{table['hours'].sum():.1f} hours on one device, besides simulation, tracking and drawing")
    if elsewhere:
        return [*text, f"on a GPU that reaches {EFFICIENCY['cuda']:.0%} of its matmul speed: a guess, not yet measured"]
    if device().type == "cpu":
        return [*text, "on this machine's CPU; for a GPU give --speed"]
    has = torch.cuda.get_device_properties(device()).total_memory / 1e9
    tight = table[table["memory"] > has]["work"].tolist()
    if tight:
        text.append(f"{', '.join(tight)}: more than the {has:.0f} GB here; lower the batch, use LoRA, or fewer frames")
    return text
