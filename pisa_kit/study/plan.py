"""What a study will need, before it starts: operations and memory counted on tensors without data, time from a matmul.

Weights and activations are those of the real shapes on torch's meta device, so nothing is downloaded or computed. What
is not counted: the few hundred MB of the CUDA context, memory fragments, and the notebooks' own tracking and drawing.
"""

import time
from dataclasses import replace

import pandas as pd
import torch

from pisa_kit.core.devices import device
from pisa_kit.models.adapters import LAYERS
from pisa_kit.models.zoo import ZOO
from pisa_kit.sim.settings import Video
from pisa_kit.study.counting import Parts, activations, decoding, forward, looking, skeleton, tuning_activations
from pisa_kit.study.settings import Preset
from pisa_kit.training.psft import LARGE
from pisa_kit.training.settings import Training

STATE = 16  # bytes per trained weight: gradient, two moments of AdamW, and the average, in float32
EFFICIENCY = {"cpu": 0.9, "cuda": 0.4}  # of a large matmul's speed; cpu: measured on the embedded model, cuda: a guess


def memory(parts: Parts, training: Training, dtype: torch.dtype) -> tuple[float, float]:
    """Bytes of the transformer's weights and of what training adds to them."""
    model = parts.transformer
    size, wide = sum(p.numel() for p in model.parameters()), torch.finfo(dtype).bits / 8
    if not training.lora_rank:
        return 4.0 * size, STATE * float(size)
    layers = [layer for name, layer in model.named_modules() if name.endswith(tuple(f".{one}" for one in LAYERS))]
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

    clip, pixels, looks = forward(parts, preset, 1, dtype), decoding(parts, preset, 1, dtype), looking(preset, 1)
    training, batch = preset.psft.training, preset.psft.training.batch
    one = batch * clip
    weights, state = memory(parts, training, dtype)
    ambiguous = preset.distribution.trained
    others = bool(ambiguous) + len(preset.generalization.trained_in) + (preset.psft.replay > 0)  # PSFTs on other drops
    steps = len(preset.seeds) * (
        training.steps * others
        + max((training.steps, *preset.psft.step_counts))
        + sum(preset.psft.data_steps for clips in preset.psft.data_sizes if clips != preset.psft.clips)
    )
    steps += training.steps * len(preset.psft.place_weights)
    passes = 4 if large else 3  # forward, twice that backward, and forward again
    held = activations(parts, one, parts.latents(preset, batch), dtype) if large else one.kept
    row("PSFT step", weights + state + held, passes * one.operations, steps)

    tuning = preset.oro.tuning
    runs = _tunings(preset)
    double = replace(tuning, training=replace(tuning.training, batch=2 * tuning.training.batch))
    pairs = replace(preset, oro=replace(preset.oro, tuning=double))  # each ambiguous picture is filmed twice
    for work, asked, number in (
        ("ORO step", preset, runs),
        ("energy score step", pairs, len(preset.seeds) * ("energy score" in ambiguous)),
    ):
        batch = asked.oro.tuning.training.batch
        one, decoded, seen = batch * clip, batch * pixels, batch * looks
        weights, state = memory(parts, tuning.training, dtype)
        codec = sum(p.numel() for p in parts.autoencoder.parameters()) * dtype.itemsize
        through = tuning.gradient_steps or tuning.sampling_steps
        again, views = large or tuning.gradient_checkpointing == "all", tuning.gradient_checkpointing != "nothing"
        twice = _calls(tuning.guidance)
        passes = (tuning.sampling_steps * twice + 2) * one.operations
        passes += (3 if again else 2) * (through * twice + 1) * one.operations
        held = tuning_activations(parts, asked, (one, decoded, seen), again, dtype)
        passes += (4 if views else 3) * (decoded.operations + seen.operations)
        row(work, weights + weights + state + codec + held, passes, number * tuning.training.steps)

    nets = (parts.transformer, parts.autoencoder, parts.text_encoder)  # one of them is there at a time
    sizes = [sum(p.numel() for p in net.parameters()) * dtype.itemsize for net in nets]
    whole = 1 if training.lora_rank else 4 / dtype.itemsize  # what was trained in full stays in float32
    bytes_ = max(whole * sizes[0], *sizes[1:])
    calls = preset.sampling_steps * _calls(preset.guidance)
    row("video", bytes_, calls * clip.operations + pixels.operations, videos(preset))
    if preset.recommended is not None:
        spec = replace(ZOO[parts.family.recommended], **preset.recommended)
        side = round((spec.height * spec.width) ** 0.5 / spec.multiple) * spec.multiple  # a square of the same area
        large = replace(preset, data=replace(preset.data, video=Video(side, spec.frames, spec.fps)))
        more = parts.latents(large, 1).numel() / parts.latents(preset, 1).numel()
        calls = spec.steps * _calls(spec.guidance)
        operations = calls * forward(parts, large, 1, dtype).operations + more * pixels.operations
        row("video, recommended size", max(sizes), operations, 2 * len(preset.seeds) * preset.data.test_clips)
    return pd.DataFrame(rows)


def _calls(guidance: float) -> int:
    """Of the transformer, for a sampling step."""
    return 2 if guidance > 1 else 1


def _tunings(preset: Preset) -> int:
    """How many models rewards tune in notebook 03: those of the preset, other values of K, and the hacked one."""
    others = [K for K in preset.oro.gradient_steps if K != preset.oro.tuning.gradient_steps]
    return len(preset.seeds) * len(preset.oro.rewards) + len(others) + 1


def videos(preset: Preset) -> int:
    """How many videos a study films, counted from the notebooks."""
    seeds, models = len(preset.seeds), 2 + len(preset.oro.rewards)
    cells = (len(preset.generalization.distances) - 1) * (len(preset.generalization.heights) - 1)
    on_map, pairs = cells * preset.generalization.clips, 2 * preset.generalization.pairs
    each = 2 * preset.data.test_clips + on_map + pairs
    quarters = 3 * 2 * preset.data.test_clips  # base, PSFT and the first reward on objects or backgrounds unseen
    more_models = len(preset.generalization.trained_in)
    elsewhere = on_map + more_models * (on_map + pairs)  # PSFT at noon, and those of other drops
    ablation = (len(preset.psft.data_sizes) + len(preset.psft.step_counts) - 1) * preset.data.test_clips
    validations = (_tunings(preset) + 2 * seeds) * len(preset.oro.tuning.evaluations())  # two kinds on values
    pictures = (
        seeds * (3 + len(preset.distribution.trained)) * preset.distribution.pictures * preset.distribution.worlds
    )
    more = 2 * preset.data.generic_clips + (4 + len(preset.psft.place_weights)) * preset.data.test_clips
    more += (preset.psft.replay > 0) * (preset.data.generic_clips + preset.data.test_clips)
    more += seeds * (preset.oro.tuning.training.steps * preset.oro.tuning.training.batch + 2 * preset.data.test_clips)
    more += seeds * (models * each + quarters + ablation + elsewhere) + pictures
    return validations * preset.data.validation_clips + more


def report(table: pd.DataFrame, elsewhere: bool) -> list[str]:
    """Text for a terminal, with what to change where this machine's GPU has too little memory.

    Args:
        elsewhere: the plan is for another machine's GPU.
    """
    line = "{:>23}  {:>9}  {:>14}  {:>10}  {:>7}  {:>7}".format
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
