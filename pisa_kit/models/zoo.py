"""Real image-to-video models by name: what each wants, and one way to film the benchmark's clips with any of them."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import diffusers
import numpy as np
import torch
from PIL import Image

from pisa_kit.clips.clip import Clip
from pisa_kit.clips.resize import resample, to_square
from pisa_kit.core.checks import check
from pisa_kit.core.devices import check_device, processes
from pisa_kit.core.errors import InputError, check_choice
from pisa_kit.core.storage import loadable
from pisa_kit.models.families import class_in, names_of


@dataclass(frozen=True)
class ModelSpec:
    """What a model was made for; nothing else of it differs here.

    Args:
        pipeline: its class in diffusers.
        repository: its weights on the Hugging Face hub, in diffusers' format.
        height, width: of its pictures, pixels.
        multiple: which sides must be a multiple of.
        stride: frames must be a multiple of it plus 1.
        frames: per video.
        fps: frames per second that its videos mean.
        steps: sampling steps.
        guidance: classifier-free guidance scale; None: the pipeline has no such argument.
        dtype: of its weights.
        prompted: does it read the caption?
        revision: of the repository.
        tried: how it was run here with small random weights; no real checkpoint was.
        arguments: more of its call.
    """

    pipeline: str
    repository: str
    height: int
    width: int
    multiple: int
    stride: int
    frames: int
    fps: float
    steps: int = 50
    guidance: float | None = 5.0
    dtype: str = "bfloat16"
    prompted: bool = True
    revision: str = "main"
    tried: str = "in the tests"
    arguments: dict = field(default_factory=dict)

    def __post_init__(self):
        check_shape(self.repository, self.frames, self.stride, self.multiple, height=self.height, width=self.width)


def check_shape(file, frames: int, stride: int, multiple: int, **sides: int):
    """Raises InputError unless `frames` is a multiple of `stride` plus 1 and every side a multiple of `multiple`."""
    wrong = [(name, side, round(side / multiple) or 1, multiple, 0) for name, side in sides.items() if side % multiple]
    if frames % stride != 1 % stride:
        wrong.append(("frames", frames, (frames - 1) // stride, stride, 1))
    for name, value, times, step, rest in wrong:
        near = times * step + rest
        problem = f"is {value}, the model needs a multiple of {step}{' plus 1' if rest else ''}"
        raise InputError(file, name, problem, f"Use {near} or {near + step}." if rest else f"Use {near}.")


WAN, HUNYUAN, COSMOS = "WanImageToVideoPipeline", "hunyuanvideo-community/HunyuanVideo", "nvidia/Cosmos-Predict"
BY_HAND, POST_TRAINED = "by hand (needs torchvision)", "diffusers/base/post-trained"
ZOO = {
    "wan2.2-ti2v-5b": ModelSpec(WAN, "Wan-AI/Wan2.2-TI2V-5B-Diffusers", 704, 1280, 32, 4, 121, 24),
    "wan2.2-i2v-a14b": ModelSpec(WAN, "Wan-AI/Wan2.2-I2V-A14B-Diffusers", 480, 832, 16, 4, 81, 16, 40, 3.5),
    "wan2.1-i2v-14b": ModelSpec(WAN, "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers", 480, 832, 16, 4, 81, 16),
    "cogvideox-5b-i2v": ModelSpec(
        "CogVideoXImageToVideoPipeline", "THUDM/CogVideoX-5b-I2V", 480, 720, 16, 4, 49, 8, guidance=6.0
    ),
    "ltx-video": ModelSpec(
        "LTXImageToVideoPipeline",
        "Lightricks/LTX-Video",
        512,
        704,
        32,
        8,
        161,
        25,
        50,
        3.0,
        arguments={"frame_rate": 25},
    ),
    "ltx-2": ModelSpec(
        "LTX2ImageToVideoPipeline", "Lightricks/LTX-2", 512, 768, 32, 8, 121, 24, 30, 3.0, arguments={"frame_rate": 24}
    ),
    "hunyuanvideo-i2v": ModelSpec(
        "HunyuanVideoImageToVideoPipeline", f"{HUNYUAN}-I2V", 720, 1280, 16, 4, 129, 24, 50, 1.0
    ),
    "hunyuanvideo-1.5-i2v": ModelSpec(
        "HunyuanVideo15ImageToVideoPipeline", f"{HUNYUAN}-1.5-480p_i2v", 480, 848, 16, 4, 121, 24, 50, 6.0
    ),
    "stable-video-diffusion": ModelSpec(
        "StableVideoDiffusionPipeline",
        "stabilityai/stable-video-diffusion-img2vid-xt",
        576,
        1024,
        64,
        1,
        25,
        7,
        steps=25,
        guidance=None,
        dtype="float16",
        prompted=False,
        arguments={"fps": 7},
    ),
    "cosmos-predict2-2b": ModelSpec(
        "Cosmos2VideoToWorldPipeline", f"{COSMOS}2-2B-Video2World", 704, 1280, 16, 4, 93, 16, 35, 7.0, tried=BY_HAND
    ),
    "cosmos-predict2.5-2b": ModelSpec(
        "Cosmos2_5_PredictBasePipeline",
        f"{COSMOS}2.5-2B",
        704,
        1280,
        16,
        4,
        93,
        16,
        36,
        7.0,
        revision=POST_TRAINED,
        tried=BY_HAND,
    ),
    "skyreels-v2-i2v-1.3b": ModelSpec(
        "SkyReelsV2ImageToVideoPipeline", "Skywork/SkyReels-V2-I2V-1.3B-540P-Diffusers", 544, 960, 16, 4, 97, 24
    ),
}


class NoGuardrail:
    """Cosmos checks prompts and videos with a package of its own; captions of household objects do without."""

    def to(self, device) -> "NoGuardrail":
        return self

    def check_text_safety(self, prompt) -> bool:
        return True

    def check_video_safety(self, video):
        return video


@dataclass(frozen=True)
class StockModel:
    """A diffusers pipeline and what it wants; `generators.generate` films with it."""

    spec: ModelSpec
    pipeline: diffusers.DiffusionPipeline
    weights: str = ""  # folder, or repository on the hub

    def describe(self) -> dict:
        """Everything of the model's own that shapes a video, for the manifest."""
        spec = {name: value for name, value in asdict(self.spec).items() if name != "tried"}
        return {"spec": spec, "dtype": str(self.pipeline.dtype), "weights": self.weights}

    def generate(self, protocol, truths: list[Clip], seeds: list[int]) -> np.ndarray:
        """One video per clip's first frame and caption, brought to the protocol's size, length and frame rate.

        The square picture is enlarged to the model's height, its edges fill the rest of the width, and the square is
        cut out of the video again. Each output frame is the model's frame nearest in time.

        Args:
            protocol: `generators.Protocol`; size, frames, fps, steps and guidance.
            truths: clips.
            seeds: one per clip.

        Returns:
            (B, frames, size, size, 3) uint8.

        Raises:
            InputError: the model's videos are shorter than the protocol's.
        """
        duration, own = (protocol.frames - 1) / protocol.fps, (self.spec.frames - 1) / self.spec.fps
        if own + 1e-9 < duration:
            problem = f"last {own:.2f} s, the protocol {duration:.2f} s"
            raise InputError(protocol.model, "videos", problem, "Ask for fewer frames, or for more of the model.")
        unused = protocol.guidance if self.spec.guidance is None and protocol.guidance != 1 else None
        check(None, unused, protocol.model, "guidance", "The model has none: leave it out.")
        return np.stack([self._film(protocol, *pair) for pair in zip(truths, seeds, strict=True)])

    def _film(self, protocol, truth: Clip, seed: int) -> np.ndarray:
        spec = self.spec
        picture = widen(truth.frames[0], spec.height, spec.width)
        asked = f"at {spec.height}x{spec.width}, {spec.frames} frames"
        with enough_memory(protocol.model, asked, "Use --offload, or open the model with fewer frames or smaller."):
            frames = self._call(picture, protocol, truth.caption, seed)
        frames = (np.asarray(frames) * 255).round().clip(0, 255).astype(np.uint8)
        cut = to_square(Clip(frames, spec.fps, name=truth.name), protocol.size, crop=True)
        return resample(cut, protocol.fps, protocol.frames).frames

    def _call(self, picture: np.ndarray, protocol, caption: str, seed: int):
        """The pipeline's video, (frames, height, width, 3) in [0, 1]."""
        spec, call = self.spec, {"height": self.spec.height, "width": self.spec.width}
        if spec.prompted:
            call["prompt"] = caption
        if spec.guidance is not None:
            call["guidance_scale"] = protocol.guidance
        if hasattr(self.pipeline, "guider"):  # guidance is a part of it, and it takes its size from the picture
            self.pipeline.guider = self.pipeline.guider.new(guidance_scale=call.pop("guidance_scale"))
            del call["height"], call["width"]
        return self.pipeline(
            image=Image.fromarray(picture),
            num_frames=spec.frames,
            num_inference_steps=protocol.steps,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
            **call,
            **spec.arguments,
        ).frames[0]


@contextmanager
def enough_memory(model: str, asked: str, remedy: str) -> Iterator[None]:
    """Inside, too little GPU memory is an `InputError` that says what was asked for."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise InputError(model, "GPU memory", f"ran out {asked}", remedy) from error


def widen(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """A square frame (S, S, 3) uint8 enlarged to the shorter side, its edges filling the rest: (height, width, 3)."""
    side = min(height, width)
    square = np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS))
    missing = [((total - side) // 2, total - side - (total - side) // 2) for total in (height, width)]
    return np.pad(square, [*missing, (0, 0)], mode="edge")


def open_model(name: str, path=None, device: str = "cpu", offload: bool = False, **changes) -> StockModel:
    """A model of the zoo with its weights.

    Args:
        name: in `ZOO`.
        path: folder in diffusers' format; without it the weights come from the Hugging Face hub, or its cache.
        device: "cpu", "cuda" (several processes: one GPU each) or "cuda:1".
        offload: keep on the GPU only the part that works (slower, for cards that hold one part at a time).
        changes: to what the model wants, e.g. `frames=49`, `height=480`.

    Raises:
        InputError: unknown name (the nearest is suggested), a size or length that does not fit, or weights that cannot
            be loaded.
    """
    spec = replace(ZOO[check_choice(name, ZOO, "model")], **changes)
    kind = getattr(diffusers, spec.pipeline)
    if spec.pipeline.startswith("Cosmos") and importlib.util.find_spec("torchvision") is None:
        raise InputError(
            name, "torchvision", "is not installed, and this model needs it", 'pip install "pisa_kit[gpu]"'
        )
    parts = {"safety_checker": NoGuardrail()} if spec.pipeline.startswith("Cosmos") else {}
    if path is not None:
        remedy = "Choose the model's own name, or another folder."
        check(Literal[names_of(spec.pipeline)], class_in(path), path, "_class_name", remedy)
    if device == "cuda":
        device = f"cuda:{processes().local_process_index}"  # each process of `accelerate launch` its own
    check_device(device)
    dtype = getattr(torch, spec.dtype) if device != "cpu" else torch.float32
    parts |= {} if path else {"revision": spec.revision}
    remedy = f"Get it with `pisa download {name}` and name its folder: --path downloads/{name}"
    with loadable(path or spec.repository, "weights", remedy):
        pipeline = kind.from_pretrained(path or spec.repository, dtype=dtype, use_safetensors=True, **parts)
    if offload:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        with enough_memory(name, "for its weights", "Use --offload."):
            pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    return StockModel(spec, pipeline, str(path or spec.repository))
