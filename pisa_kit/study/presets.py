"""Every number of a run: what the presets are, and how one is changed."""

import ast
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

from pisa_kit.core.errors import InputError, check_choice
from pisa_kit.sim.settings import Video
from pisa_kit.study.settings import REWARDS, Data, Distribution, Generalization, Oro, Preset, Psft
from pisa_kit.training.settings import OroSettings, Training


def _rewards(*names: str) -> dict[str, dict[str, float]]:
    return {name: REWARDS[name] for name in names}


def _tuned_for(steps: int) -> OroSettings:
    settings = Oro().tuning
    return replace(settings, training=replace(settings.training, steps=steps), eval_steps=(steps // 2, steps))


SMOKE = Preset(
    "smoke",
    seeds=(0, 1),
    sampling_steps=2,
    data=Data(test_clips=4, validation_clips=2, generic_clips=4, phone_resamples=40),
    psft=Psft(
        Training(steps=4, batch=4, learning_rate=5e-4, warmup=2, decay=0.5, ema=0.5, log_every=1),
        clips=8,
        data_sizes=(4, 8),
        data_steps=4,
        step_counts=(2, 4),
        place_weights=(),
    ),
    oro=Oro(
        OroSettings(
            Training(steps=2, batch=2, learning_rate=5e-5, warmup=1, decay=0, ema=0.5, log_every=1),
            weights=REWARDS["seg"],
            sampling_steps=2,
        ),
        clips=4,
        rewards=_rewards("seg", "newton"),
        gradient_steps=(1,),
        candidates=2,
    ),
    generalization=Generalization((2.0, 3.5, 5.0), (0.5, 1.25, 2.0), clips=3, pairs=2),
    distribution=Distribution(clips=8, pictures=1, worlds=16, rehearsals=20, simulated_falls=50),
)
MINI = Preset(  # a first look: twenty minutes on two cores
    "mini",
    seeds=(0,),
    data=Data(test_clips=32, validation_clips=16, generic_clips=32, phone_resamples=400),
    psft=Psft(
        replace(Psft().training, steps=160),
        data_sizes=(128, 1024),
        data_steps=80,
        step_counts=(80, 160),
        place_weights=(),
        replay=0.0,
    ),
    oro=Oro(_tuned_for(24), rewards=_rewards("seg", "flow", "depth"), gradient_steps=()),
    generalization=Generalization((1.5, 2.0, 3.5, 5.0), (0.25, 0.5, 1.25, 2.0), clips=4, pairs=16, trained_in=()),
    distribution=Distribution(pictures=1, worlds=64, rehearsals=500, simulated_falls=500, trained=()),
)
GPU = Preset(  # one card of 24 to 80 GB: low-rank weights
    "gpu",
    seeds=(0,),
    base=None,
    sampling_steps=30,
    guidance=5.0,  # Wan 2.2's; LTX: --set guidance=3.0
    recommended={},
    data=Data(Video(256, 33, 16), test_clips=60, generic_clips=60, phone_resamples=400),
    psft=Psft(
        Training(400, 8, 1e-4, decay=0, ema=0.98, precision="bf16", lora_rank=64),
        data_steps=400,
        step_counts=(100, 200, 400),
        place_weights=(),
        replay=0.0,
    ),
    oro=Oro(
        OroSettings(
            Training(96, 4, 2e-5, warmup=4, decay=0, ema=0.9, precision="bf16", lora_rank=64, log_every=2),
            weights=REWARDS["seg"],
            sampling_steps=10,
            gradient_steps=3,  # of 10: cosine with the whole gradient 0.95 on Wan's schedule, 0.78 on LTX's (LOG.md)
            gradient_checkpointing="views",
            eval_steps=(32, 64, 96),
        ),
        clips=512,
        rewards=_rewards("seg", "flow", "depth"),
        gradient_steps=(),
    ),
    generalization=Generalization(clips=3, pairs=20, trained_in=()),
    distribution=Distribution(clips=1024, pictures=1, worlds=256),
)
PAPER = replace(  # paper.md, sections 5 and 6; it does not say how many steps, nor its ORO's sampling steps
    GPU,
    name="paper",
    seeds=(0, 1, 2),
    data=replace(GPU.data, test_clips=120),
    psft=Psft(
        Training(2500, 128, 1e-4, warmup=0, decay=0, epsilon=1e-15, ema=0.99, precision="bf16"),
        clips=5000,
        data_sizes=(128, 1024, 5000),
        data_steps=2500,
        step_counts=(500, 1000, 2500),
        place_weights=(),
        replay=0.0,
    ),
    oro=replace(
        GPU.oro,
        tuning=replace(
            GPU.oro.tuning,
            training=Training(500, 2, 1e-6, warmup=0, decay=0, ema=0.99, precision="bf16"),
            eval_steps=(100, 200, 300, 400, 500),
        ),
        clips=1000,
        perception="real",
    ),
    distribution=Distribution(clips=5000, pictures=3, worlds=256),
)
LOW_RANK = {"precision": "bf16", "lora_rank": 4}
GPU_SMOKE = replace(  # what `gpu` does, in numbers for tests
    SMOKE,
    name="gpu_smoke",
    base=None,
    seeds=(0,),
    guidance=5.0,
    recommended={"height": 64, "width": 96, "frames": 33, "fps": 16, "steps": 2},
    psft=replace(SMOKE.psft, training=replace(SMOKE.psft.training, **LOW_RANK)),
    oro=replace(
        SMOKE.oro,
        tuning=replace(
            SMOKE.oro.tuning,
            training=replace(SMOKE.oro.tuning.training, **LOW_RANK),
            gradient_steps=1,
            gradient_checkpointing="views",
        ),
        gradient_steps=(),
    ),
)
PRESETS = {preset.name: preset for preset in (SMOKE, MINI, Preset("full", (0, 1, 2)), GPU, PAPER, GPU_SMOKE)}


def get_preset(name: str, base: str | None = None, bench: str | None = None) -> Preset:
    """The preset of that name, with changes: "mini psft.training.steps=200 data.test_clips=20".

    Args:
        name: in `PRESETS`, and any number of settings to change.
        base: folder of the pipeline to study, in diffusers' format, instead of the preset's.
        bench: folder of prepared clips.

    Raises:
        InputError: an unknown name (the nearest is suggested), or a preset that needs a model and got none.
    """
    first, *changes = name.split() or [""]
    preset = PRESETS[check_choice(first, PRESETS, "preset")]
    for change in changes:
        preset = replace(_changed(preset, change), name=name)
    preset = replace(preset, base=str(Path(base).resolve()) if base else preset.base, bench=bench or preset.bench)
    if preset.base is None:
        remedy = "Name a folder in diffusers' format: --model downloads/wan2.2-ti2v-5b"
        raise InputError(f"preset {name}", "model", "is not given", remedy)
    if min(preset.psft.data_sizes) < preset.psft.training.batch:
        problem = f"{preset.psft.data_sizes} holds fewer clips than a batch of {preset.psft.training.batch}"
        raise InputError(f"preset {name}", "psft.data_sizes", problem, "Leave that size out, or lower training.batch.")
    return preset


def _changed(settings, change: str, at: str = ""):
    """Settings in which "a.b=value" has changed one number.

    Args:
        at: the path that led to these settings.
    """
    path, equals, text = change.partition("=")
    name, _, rest = path.partition(".")
    known = {one.name: getattr(settings, one.name) for one in fields(settings) if one.name != "name"}
    old, at = known[check_choice(name, known, f"setting in {type(settings).__name__}")], f"{at}{name}"
    if is_dataclass(old) and rest:
        return replace(settings, **{name: _changed(old, f"{rest}{equals}{text}", f"{at}.")})
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    value = tuple(value) if isinstance(value, list) else value
    value = float(value) if isinstance(old, float) and type(value) is int else value
    one_number = equals and not rest and not is_dataclass(old)
    if not one_number or (old is not None and type(value) is not type(old)):
        problem = f"is {text!r}, not of the kind of {old!r}" if one_number else "is not one number"
        raise InputError("settings", at, problem, f"Write e.g. {at}={old!r}, without blanks.")
    return replace(settings, **{name: value})
