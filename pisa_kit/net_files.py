"""How the perception nets ship: a folder with model.safetensors and a config.json that says how they were made."""

from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from pisa_kit.files import InputError, atomic_path, read_json, write_json
from pisa_kit.presets import Training

WIDTHS = (8, 16, 24, 32)  # channels of a net's finest level


def save_net(folder, model: nn.Module, width: int, settings: Training, clips: list[int]):
    """Writes a net for `load_net`.

    Args:
        folder: receives config.json and model.safetensors.
        width: the net's only argument.
        settings: of the training that made it.
        clips: how many clips it learned from, true and reconstructed.
    """
    about = {"net": type(model).__name__, "width": width, "clips": clips, "training": asdict(settings)}
    with atomic_path(Path(folder) / "model.safetensors") as temporary:
        safetensors.torch.save_file(model.state_dict(), temporary)
    write_json(Path(folder) / "config.json", about)


def load_net(folder, name: str, kind: type[nn.Module]) -> nn.Module:
    """The net in `folder`/`name`, ready for use: its parameters take no gradients, its input does.

    Args:
        kind: the class it must be of.

    Raises:
        InputError: files that are missing, damaged or of another net.
    """
    config_path, path = Path(folder) / name / "config.json", Path(folder) / name / "model.safetensors"
    remedy = f"Make the weights with `pisa pretrain {name}`, or install the kit again."
    config = read_json(config_path)
    if not isinstance(config, dict) or not {"net", "width"} <= config.keys():
        raise InputError(config_path, "net, width", "are missing", remedy)
    if config["width"] not in WIDTHS:
        raise InputError(config_path, "width", f"is {config['width']!r}, not one of {WIDTHS}", remedy)
    if config["net"] != kind.__name__:
        raise InputError(config_path, "net", f"is {config['net']!r}, not {kind.__name__!r}", remedy)
    try:
        tensors = safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise InputError(path, "weights", "do not exist", remedy) from error
    except (OSError, SafetensorError) as error:
        raise InputError(path, "weights", f"are damaged ({error})", remedy) from error
    model = kind(config["width"])
    shapes, known = ({key: t.shape for key, t in each.items()} for each in (tensors, model.state_dict()))
    if shapes != known or not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        problem = f"do not fit a {kind.__name__} of width {config['width']}, or are not finite"
        raise InputError(path, "weights", problem, remedy)
    model.load_state_dict(tensors)
    return model.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # twice as fast on CPUs
