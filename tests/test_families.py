"""A second kind of model (LTX: other packing, noise levels, normalisation) through the same sampler, PSFT and ORO."""

import numpy as np
import pytest
import torch
from test_oro import SETTINGS
from tiny_pipelines import make

from pisa_kit.core.errors import InputError
from pisa_kit.models.adapters import merge
from pisa_kit.models.conditioning import Condition, condition, decode, encode
from pisa_kit.models.embedded import PROMPT_TOKENS, load
from pisa_kit.models.families import Ltx, family_of
from pisa_kit.models.generation import Protocol, generate
from pisa_kit.models.sampling import noise_like, sample
from pisa_kit.perception.tensors import to_video
from pisa_kit.sim.scenes import sample as draw_scene
from pisa_kit.sim.simulate import simulate
from pisa_kit.training import oro, psft
from pisa_kit.training.latents import cache_latents
from pisa_kit.training.rewards import load_rewards
from pisa_kit.training.settings import Training

torch.set_num_threads(1)
CAPTION = "A red mug falls."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ltx") / "ltx"
    torch.manual_seed(0)
    pipeline = make("ltx-video")
    pipeline.vae.latents_mean += torch.linspace(-1, 1, 8)
    pipeline.vae.latents_std *= torch.linspace(0.5, 2, 8)
    pipeline.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pipeline(folder):
    return load(folder)


@pytest.fixture(scope="module")
def clips(pipeline, tmp_path_factory):
    made = [simulate(draw_scene(seed), 64, 17, 16, name=f"{seed}") for seed in range(2)]
    frames, masks = (np.stack([getattr(clip, name) for clip in made]) for name in ("frames", "dropped"))
    path = tmp_path_factory.mktemp("latents") / "latents"
    captions = [clip.caption for clip in made]
    return made, cache_latents(pipeline, [(frames, masks)], captions, path) | {"frames": frames, "masks": masks}


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_sampler_is_the_stock_pipelines(pipeline, guidance):
    frame = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1
    given = condition(pipeline, frame, [CAPTION], guidance)
    noise = noise_like(given, 3, [3])
    ours = sample(pipeline, given, noise, 4, guidance)
    noise[:, :, :1] = given.first  # the stock pipeline wants the clean picture in the latents it is given
    size = {"height": 64, "width": 64, "num_frames": 17, "frame_rate": 25}
    stock = pipeline(
        image=(frame + 1) / 2,
        prompt=CAPTION,
        latents=Ltx.pipeline._pack_latents(noise),
        num_inference_steps=4,
        guidance_scale=guidance,
        max_sequence_length=PROMPT_TOKENS,
        output_type="pt",
        **size,
    ).frames
    assert torch.abs((ours + 1) / 2 - stock.movedim(1, 2)).max() <= 5e-5


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_wan_with_another_scheduler_is_the_stock_pipelines_too(guidance, tmp_path):
    """Wan 2.2 TI2V comes with UniPC, which remembers earlier steps."""
    make("wan2.2-ti2v-5b").save_pretrained(tmp_path / "wan")
    wan = load(tmp_path / "wan")
    frame = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1
    given = condition(wan, frame, [CAPTION], guidance)
    noise = noise_like(given, 5, [3])
    ours = sample(wan, given, noise, 4, guidance)
    options = {"height": 64, "width": 64, "num_frames": 17, "guidance_scale": guidance}
    options["max_sequence_length"] = PROMPT_TOKENS
    picture = (frame + 1) / 2
    stock = wan(picture, CAPTION, latents=noise, num_inference_steps=4, output_type="pt", **options).frames
    assert torch.abs((ours + 1) / 2 - stock.movedim(1, 2)).max() <= 5e-5


def test_latents_are_normalised_as_the_pipeline_does(pipeline, clips):
    video = to_video(clips[1]["frames"])
    with torch.no_grad():
        raw = pipeline.vae.encode(video).latent_dist.mean
        latents = encode(pipeline.vae, video)
        stock = Ltx.pipeline._normalize_latents(raw, pipeline.vae.latents_mean, pipeline.vae.latents_std)
        torch.testing.assert_close(latents, stock, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(decode(pipeline.vae, latents), pipeline.vae.decode(raw).sample, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("rank", [0, 2])
def test_psft_in_the_same_loop_is_saved_in_the_same_format(pipeline, clips, rank, tmp_path):
    settings = Training(steps=3, batch=2, learning_rate=1e-3, warmup=1, ema=0.5, lora_rank=rank, log_every=1)
    cached = {name: clips[1][name] for name in ("latents", "text", "below")}
    tuned = psft.train_transformer(pipeline, cached, settings, tmp_path / "run")
    kept = "adapter_3/pytorch_lora_weights.safetensors" if rank else "pipeline_3/text_encoder/config.json"
    assert isinstance(tuned, Ltx.pipeline) and (tmp_path / "run" / kept).is_file()
    before, after = pipeline.transformer.state_dict(), merge(tuned.transformer).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    if rank:
        assert {name.split(".")[-2] for name in moved} <= {"to_q", "to_k", "to_v", "0"}
    films = generate(tuned, Protocol("ltx", steps=2), clips[0], 0, tmp_path / "films")
    assert [film.frames.shape for film in films] == [(17, 64, 64, 3)] * 2


def test_oro_in_the_same_loop(pipeline, clips, tmp_path):
    tuned, _ = oro.tune(pipeline, clips[1], load_rewards(["seg"]), SETTINGS, tmp_path)
    before, after = (torch.cat([p.flatten() for p in each.transformer.parameters()]) for each in (pipeline, tuned))
    assert torch.isfinite(after).all() and not torch.equal(before, after)


def test_frames_must_fit_the_family(pipeline, clips, tmp_path):
    with pytest.raises(InputError, match="frames: is 16, the model needs a multiple of 8 plus 1. Use 9 or 17"):
        generate(pipeline, Protocol("ltx", frames=16), clips[0], 0, tmp_path)


def test_models_that_can_only_be_filmed_with_are_refused(tmp_path):
    make("stable-video-diffusion").save_pretrained(tmp_path / "svd")
    with pytest.raises(
        InputError,
        match="is 'StableVideoDiffusionPipeline'.*Others can be filmed with",
    ):
        load(tmp_path / "svd")
    make("wan2.1-i2v-14b").save_pretrained(tmp_path / "wan")
    with pytest.raises(InputError, match="expand_timesteps"):
        load(tmp_path / "wan")
    with pytest.raises(InputError, match="is Linear"):
        family_of(torch.nn.Linear(1, 1))


def test_padding_of_prompts_is_not_attended_to(pipeline):
    frame = torch.zeros(1, 3, 64, 64)
    given = condition(pipeline, frame, [CAPTION])
    short = Condition(given.first, given.text[:, : int(given.text.ne(0).any(-1).sum())])
    noise = noise_like(given, 3, [0])
    torch.testing.assert_close(sample(pipeline, given, noise, 2), sample(pipeline, short, noise, 2), atol=1e-4, rtol=0)
