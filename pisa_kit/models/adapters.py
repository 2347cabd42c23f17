"""Low-rank additions to attention weights (LoRA), kept as the file that diffusers' `load_lora_weights` reads."""

import copy
from pathlib import Path
from typing import Literal

import torch
from diffusers import DiffusionPipeline
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE
from diffusers.training_utils import _collate_lora_metadata, cast_training_params
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import nn

from pisa_kit.core.checks import check
from pisa_kit.core.storage import loadable, open_tensors, plain_file

LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
NAME = "default"  # peft's


def has_adapter(transformer: nn.Module) -> bool:
    """Does the transformer have low-rank additions?"""
    return NAME in getattr(transformer, "peft_config", {})


def add_adapter(transformer: nn.Module, rank: int, seed: int):
    """Freezes the weights and adds trainable low-rank products to attention, in float32; goes on with those there are.

    Raises:
        InputError: those that are there have another rank.
    """
    if not has_adapter(transformer):
        torch.manual_seed(seed)
        transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LAYERS)), NAME)
    check(Literal[transformer.peft_config[NAME].r], rank, "training", "lora_rank", "The model's adapter has that rank.")
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_("lora_" in name)
    cast_training_params(transformer)


def save_adapter(pipeline: DiffusionPipeline, folder):
    """Writes the transformer's adapter, with rank and scale, as pytorch_lora_weights.safetensors into the folder."""
    transformer = pipeline.transformer
    about = _collate_lora_metadata({"transformer": transformer})
    pipeline.save_lora_weights(folder, get_peft_model_state_dict(transformer, adapter_name=NAME), **about)


def load_adapter(pipeline: DiffusionPipeline, path):
    """Puts an adapter into the pipeline's transformer, in the place of the one that is there.

    Args:
        pipeline: any of diffusers' that knows LoRA.
        path: the file, or the folder that `save_adapter` wrote.

    Raises:
        InputError: a missing or damaged file, or one of another architecture.
    """
    path = Path(path)
    path = plain_file(path / LORA_WEIGHT_NAME_SAFE if path.is_dir() else path)
    with loadable(path, "adapter", "Give an adapter in diffusers' format that was trained on this model."):
        if has_adapter(pipeline.transformer):
            pipeline.transformer.unload_lora()
        pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name=NAME)
        there = sum("lora_" in name for name, _ in pipeline.transformer.named_parameters())
        with open_tensors(path, "Restore it from its source.") as file:
            wanted = sum(name.startswith("transformer.") and ".lora_" in name for name in file.keys())
        if not there or there < wanted:  # diffusers only warns
            raise ValueError(f"{there} of its {max(wanted, 1)} matrices have a place in the transformer")


def with_adapter(pipeline: DiffusionPipeline, path) -> DiffusionPipeline:
    """A copy of the pipeline with the adapter of `load_adapter`; it shares everything but the transformer."""
    tuned = with_transformer(pipeline, copy.deepcopy(pipeline.transformer))
    load_adapter(tuned, path)
    tuned.transformer.requires_grad_(False).eval()
    return tuned


def merge(transformer: nn.Module) -> nn.Module:
    """Adds the adapter, if there is one, to the weights; afterwards the transformer is a plain one."""
    if has_adapter(transformer):
        transformer.fuse_lora()
        transformer.unload_lora()
    return transformer


def with_transformer(pipeline: DiffusionPipeline, transformer: nn.Module) -> DiffusionPipeline:
    """The pipeline with another transformer; `pipeline` itself stays as it is."""
    options = {name: value for name, value in pipeline.config.items() if name not in pipeline.components}
    options = {name: value for name, value in options.items() if not name.startswith("_")}
    made = type(pipeline)(**(pipeline.components | {"transformer": transformer}), **options)
    made.set_progress_bar_config(disable=True)
    return made
