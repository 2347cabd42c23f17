"""The embedded model: a tiny image-to-video pipeline with the anatomy and the file format of Wan2.2-TI2V.

It is a designed stand-in, small enough for two CPU cores; swapping in the real thing is one argument, because both are
`WanImageToVideoPipeline`s that `from_pretrained(path)` loads (`expand_timesteps`: the first latent frame is clean).
"""

from pathlib import Path
from typing import Literal

import torch
from diffusers import (
    AutoencoderKLWan,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    WanImageToVideoPipeline,
    WanTransformer3DModel,
)
from diffusers.utils import logging as diffusers_logging
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel
from transformers.utils import logging as transformers_logging

from pisa_kit.core.checks import check
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import WEIGHTS, loadable, read_json
from pisa_kit.models.codec import CHANNELS, make_autoencoder
from pisa_kit.models.families import family_in, family_of
from pisa_kit.sim import motion
from pisa_kit.sim.scenes import COLOURS, SHAPES, SPLITS

BASE = WEIGHTS / "embedded"  # the shipped base model
Components = dict[str, tuple[Literal["diffusers", "transformers"] | None, str | None]]  # of a model_index.json
PROMPT_TOKENS = 40  # prompts are padded to this length
TEXT_WIDTH = 64
SHIFT = 4.0  # of the noise levels towards 1: where an object goes is decided while there is still much noise
diffusers_logging.disable_progress_bar()  # loading takes a second
transformers_logging.disable_progress_bar()
WORDS = ("a", "an", "the", "video", "of", "object", "dropping", "ball", ".", "-", "camera", "pans")
WORDS += ("left", "right", "up", "down")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer over every word the captions can hold."""
    colours = [colour for split in SPLITS for colour in COLOURS[split]]
    shapes = [part for split in SPLITS for shape in SHAPES[split] for part in shape.split("_")]
    words = ["<pad>", "</s>", "<unk>", *dict.fromkeys([*WORDS, *colours, *shapes, *motion.KINDS])]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=PROMPT_TOKENS,
    )


def make_text_encoder(vocabulary: int, seed: int = 0) -> UMT5EncoderModel:
    """A two-layer UMT5 encoder, 64 wide."""
    torch.manual_seed(seed)
    config = UMT5Config(
        vocab_size=vocabulary, d_model=TEXT_WIDTH, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    return UMT5EncoderModel(config)


def make_transformer(seed: int = 0) -> WanTransformer3DModel:
    """A six-layer Wan transformer, 192 wide, 4.0 M parameters; 2x2 latents of one frame (16x16 px) make a token."""
    torch.manual_seed(seed)
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=4,
        attention_head_dim=48,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=256,
        ffn_dim=768,
        num_layers=6,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=256,
    )


def assemble(
    autoencoder: AutoencoderKLWan | None = None, transformer: WanTransformer3DModel | None = None, seed: int = 0
) -> WanImageToVideoPipeline:
    """The pipeline from its parts; a part that is not given starts untrained."""
    tokenizer = make_tokenizer()
    return WanImageToVideoPipeline(
        tokenizer=tokenizer,
        text_encoder=make_text_encoder(len(tokenizer), seed).eval(),
        vae=(autoencoder or make_autoencoder(seed)).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        transformer=(transformer or make_transformer(seed)).eval(),
        expand_timesteps=True,
    )


def load(path=BASE, dtype: torch.dtype = torch.float32, transformer: torch.dtype | None = None) -> DiffusionPipeline:
    """A pipeline that can be trained, in diffusers' directory format, safetensors only; by default the shipped base.

    Args:
        path: folder; its class is one of `families.TRAINABLE`.
        dtype: of the weights.
        transformer: of the transformer's weights, if others.

    Raises:
        InputError: another class, or a component that is missing, damaged, or has weights of another architecture.
    """
    path = Path(path)
    family = family_in(path)
    index = {name: kind for name, kind in read_json(path / "model_index.json").items() if not name.startswith("_")}
    plain = {name: kind for name, kind in index.items() if not isinstance(kind, (bool, int, float, str, type(None)))}
    check(Components, plain, path / "model_index.json", remedy="It should be as `save_pretrained` writes it.")
    for component in (name for name, kind in plain.items() if kind[0]):
        if not (path / component).is_dir():
            remedy = "Give a complete folder in diffusers' format, as `save_pretrained` writes it."
            raise InputError(path, component, "is missing", remedy)
    trained = {"vae": family.autoencoder, "transformer": family.transformer}
    dtypes = {"vae": dtype, "transformer": transformer or dtype}
    parts = {component: _load_part(path, component, kind, dtypes[component]) for component, kind in trained.items()}
    with loadable(path, "pipeline", "One of its other components is damaged or missing: restore the folder."):
        pipeline = family.pipeline.from_pretrained(path, use_safetensors=True, dtype=dtype, **parts)
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module) and not all(value.isfinite().all() for value in part.parameters()):
            raise InputError(path, name, "has weights that are not numbers", "Restore it from its source.")
    pipeline.set_progress_bar_config(disable=True)
    family_of(pipeline)  # refuses a Wan that conditions otherwise
    return pipeline


def _load_part(path: Path, component: str, kind, dtype: torch.dtype):
    """One trained network; diffusers alone would fill what its file lacks with random weights and only warn."""
    with loadable(path, component, "Use the config.json and the weights that were saved together."):
        options = {"use_safetensors": True, "output_loading_info": True, "torch_dtype": dtype}
        part, info = kind.from_pretrained(path / component, **options)
        foreign = [*info["missing_keys"], *info["unexpected_keys"]]
        if foreign:
            raise ValueError(f"weights of another architecture, {len(foreign)} missing or left over, e.g. {foreign[0]}")
    return part
