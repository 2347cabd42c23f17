"""ONE training loop: pre-training, PSFT and ORO hand it different loss functions.

Everything random depends on (seed, step, process) alone, so that a run that was killed continues to the same weights.
"""

import copy
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import LoggerType, get_available_trackers
from accelerate.utils import send_to_device
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from torch import nn

from pisa_kit.core.checks import check_same
from pisa_kit.core.devices import no_gpu, processes
from pisa_kit.core.errors import InputError, check_choice, first_line
from pisa_kit.core.progress import Bar
from pisa_kit.core.storage import atomic_path, open_tensors, read_json, write_json
from pisa_kit.training.optimizers import Optimizer
from pisa_kit.training.settings import Training
from pisa_kit.training.sharding import shard, sharded, split_like, whole

LOG_WITH = "PISA_LOG_WITH"  # not a setting: what is recorded where does not change a run


class TrainingError(RuntimeError):
    """Training cannot go on; the message names the step and the reason, the last checkpoint is intact."""


def train(
    model: nn.Module,
    loss: Callable[[nn.Module, object, torch.Generator], dict[str, torch.Tensor]],
    batch: Callable[[int, int, int], object],
    settings: Training,
    folder,
    label: str = "training",
    watch: Callable[[dict], None] | None = None,
    about: dict | None = None,
) -> nn.Module:
    """Trains the parameters of `model` that require gradients; continues from `folder`'s checkpoint if there is one.

    Args:
        loss: (model, batch, generator) to named scalar terms in raw units; the term "loss" is minimised.
        batch: (step, process, processes) to this process's share of the batch of that step.
        folder: receives settings.json, log.jsonl (a line per `log_every` steps), checkpoint.safetensors, and what
            TensorBoard reads, or another of accelerate's trackers that the environment variable `LOG_WITH` names.
        watch: called with every line of the log, e.g. to draw a curve.
        about: what else shapes the run, e.g. rewards; kept in settings.json.

    Returns:
        The model with the averaged (EMA) weights.

    Raises:
        TrainingError: a loss or gradient that is not finite, or too little GPU memory.
        InputError: a checkpoint of another model, other settings or more steps, or a folder that cannot be written.
    """
    folder, path = Path(folder), Path(folder) / "checkpoint.safetensors"
    check_run(folder, settings, about)
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != settings.precision:
        AcceleratorState._reset_state()  # another training of this process was of another precision
    accelerator = Accelerator(
        mixed_precision=settings.precision, cpu=no_gpu(), log_with=_trackers(folder) or None, project_dir=folder
    )
    # 1. what is trained, and how
    trained = shard(copy.deepcopy(model)) if sharded() else model
    wrapped = trained if sharded() else accelerator.prepare(model)
    parameters = trainable(trained)
    optimizer = Optimizer(parameters, settings)
    average = EMAModel(parameters, decay=settings.ema, foreach=True)
    # 2. where it left off
    start = load_checkpoint(path, trained, optimizer, average, settings)
    if accelerator.is_main_process:
        write_json(folder / "settings.json", asdict(settings) | (about or {}))
        _forget_after(folder / "log.jsonl", start)
    accelerator.init_trackers("pisa_kit", init_kwargs={"tensorboard": {"purge_step": start + 1}})
    # 3. the loop
    shown = {"desc": label, "unit": "step", "disable": not accelerator.is_main_process}
    bar = Bar(range(start, settings.steps), initial=start, total=settings.steps, **shown)
    wrapped.train()
    for step in bar:
        began = time.perf_counter()
        generator = seeded(settings.seed, step, accelerator.process_index)
        share = batch(step, accelerator.process_index, accelerator.num_processes)
        try:
            with accelerator.autocast():
                terms = loss(wrapped, send_to_device(share, accelerator.device), generator)
            accelerator.backward(terms["loss"])
        except torch.cuda.OutOfMemoryError as error:
            remedy = "Lower the batch, set lora_rank, or use fewer frames; `pisa plan` says what fits"
            raise TrainingError(f"{label}: step {step}: {first_line(error)}. {remedy}.") from error
        norm = whole(nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm))
        _check_finite(terms, norm, step, label)
        optimizer.step(settings.learning_rate_at(step) / settings.learning_rate)
        optimizer.zero_grad()
        average.step(parameters)
        # 4. what is remembered
        done = step + 1
        if accelerator.is_main_process and (done % settings.log_every == 0 or done == settings.steps):
            line = {name: float(term.detach()) for name, term in terms.items()}
            line |= {"step": done, "gradient": float(norm), "lr": settings.learning_rate_at(step)}
            line["seconds"] = round(time.perf_counter() - began, 4)
            with open(folder / "log.jsonl", "a") as file:
                file.write(json.dumps(line) + "\n")
            accelerator.log({name: value for name, value in line.items() if name != "step"}, step=done)
            bar.set_postfix(loss=f"{line['loss']:.4f}", refresh=False)
            if watch:
                watch(line)
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            if sharded() or accelerator.is_main_process:
                save_checkpoint(path, done, trained, optimizer, average, settings)
            accelerator.wait_for_everyone()  # whoever continues must find it
    for tracker in accelerator.trackers:
        tracker.finish()
    for parameter, mean in zip(trainable(model), average.shadow_params, strict=True):
        parameter.data.copy_(whole(mean))
    return model.to(accelerator.device).eval()


def check_run(folder, settings: Training, about: dict | None = None):
    """InputError if the folder holds a run of other settings, or of another model, data or reward (`about`)."""
    if (Path(folder) / "settings.json").exists():
        known = read_json(Path(folder) / "settings.json")
        fixed = {name: value for name, value in asdict(settings).items() if name not in Training.MAY_CHANGE}
        fixed |= about or {}
        check_same({name: known.get(name) for name in fixed}, fixed, folder, "those of the run that is there")


def _trackers(folder: Path) -> list[str]:
    """The experiment trackers that the environment variable `LOG_WITH` names, joined by commas; each is installed."""
    names = [name for name in os.environ.get(LOG_WITH, "tensorboard").split(",") if name]
    for name in names:
        check_choice(name, [tracker.value for tracker in LoggerType if tracker != LoggerType.ALL], "tracker")
        if LoggerType(name) not in get_available_trackers():
            remedy = f"pip install {name}, or set {LOG_WITH} to others, or to nothing."
            raise InputError(folder, "experiment tracker", f"{name} is not installed", remedy)
    return names


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that require gradients, in a fixed order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def seeded(*numbers: int) -> torch.Generator:
    """A CPU generator whose stream depends on `numbers` alone."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % 2**63
    return torch.Generator().manual_seed(seed)


def _check_finite(terms: dict[str, torch.Tensor], norm: torch.Tensor, step: int, label: str):
    bad = [name for name, term in terms.items() if not torch.isfinite(term).all()]
    bad += [] if torch.isfinite(norm) else ["gradient"]
    if bad:
        values = ", ".join(f"{name} = {float(term.detach()):.4g}" for name, term in terms.items())
        remedy = "Look at this batch, or lower the learning rate; the last checkpoint is intact."
        raise TrainingError(f"{label}: step {step}: {', '.join(bad)} is not finite ({values}). {remedy}")


def _forget_after(path: Path, step: int):
    """Drops the log's lines of steps that a killed run did after its last checkpoint: they are done again."""
    if path.exists():
        kept = [line for line in read_log(path.parent) if line["step"] <= step]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))


def read_log(folder) -> list[dict]:
    """The lines of a run's log.jsonl; one that was being written when the run was killed is left out."""
    return [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines(True) if line[-1] == "\n"]


# --- checkpoints -------------------------------------------------------------------------------------------------


def save_checkpoint(path, step: int, model: nn.Module, optimizer: Optimizer, average: EMAModel, settings: Training):
    """Writes weights, their average and the optimizer's moments as one safetensors file, whole or not at all.

    Processes that share the weights all call it: slices are put together, the first process writes.
    """
    tensors = {f"weight.{index}": parameter.detach() for index, parameter in enumerate(trainable(model))}
    tensors |= {f"average.{index}": shadow for index, shadow in enumerate(average.shadow_params)}
    tensors |= {f"optimizer.{name}": value for name, value in optimizer.state().items()}
    for name, tensor in tensors.items():
        full = whole(tensor)
        tensors[name] = full.cpu().contiguous() if processes().is_main_process else None
    if not processes().is_main_process:
        return
    about = {"step": str(step), "settings": json.dumps(asdict(settings))}
    with atomic_path(path) as temporary:
        try:
            safetensors.torch.save_file(tensors, temporary, metadata=about)
        except (OSError, SafetensorError) as error:
            remedy = "Free some space; the earlier checkpoint is intact."
            raise InputError(path, "checkpoint", f"cannot be written ({error})", remedy) from error


def steps_done(path) -> int:
    """How many steps a checkpoint holds; 0 without one."""
    if not Path(path).exists():
        return 0
    with open_tensors(path, "Delete the checkpoint to start anew.") as file:
        return int(file.metadata()["step"])


def load_checkpoint(path, model: nn.Module, optimizer: Optimizer, average: EMAModel, settings: Training) -> int:
    """Restores what `save_checkpoint` wrote; returns the number of steps done, 0 without a checkpoint.

    Raises:
        InputError: damaged, of another model, or made with other settings or more steps (fewer are continued).
    """
    done = steps_done(path)
    if not done:
        return 0
    if done > settings.steps:
        problem = f"are {done}, more than the {settings.steps} asked for"
        raise InputError(path, "steps", problem, "Use another folder, or ask for more.")
    with open_tensors(path, "Delete the checkpoint to start anew.") as file:
        made, tensors = json.loads(file.metadata()["settings"]), {name: file.get_tensor(name) for name in file.keys()}
    fixed = {name: value for name, value in asdict(settings).items() if name not in Training.MAY_CHANGE}
    check_same({name: made.get(name) for name in fixed}, fixed, path, "the run's")
    parameters = trainable(model)
    shapes = {name: tensor.shape for name, tensor in tensors.items() if name.startswith("weight.")}
    if shapes != {f"weight.{index}": parameter.shape for index, parameter in enumerate(parameters)}:
        raise InputError(path, "weights", "belong to another model", "Use another folder, or the original model.")
    with torch.no_grad():
        for index, parameter in enumerate(parameters):
            parameter.copy_(split_like(tensors[f"weight.{index}"], parameter))
            average.shadow_params[index].copy_(split_like(tensors[f"average.{index}"], parameter))
    average.optimization_step = done
    prefix = "optimizer."
    optimizer.load_state({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})
    return done
