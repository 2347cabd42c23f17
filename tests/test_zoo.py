"""Every entry of the zoo videos with its real pipeline class, small and random, through the code that loads weights."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_pipelines
import torch
from sentencepiece import SentencePieceTrainer
from transformers import AutoTokenizer

from pisa_kit.clips.clip import Clip
from pisa_kit.clips.resize import to_square
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import write_json
from pisa_kit.models.generation import Protocol, generate
from pisa_kit.models.zoo import ZOO, StockModel, open_model, widen
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate

PROTOCOL = Protocol("x", steps=2, guidance=3.0, size=32, frames=9, fps=16)


@pytest.fixture(scope="module")
def truths():
    return [simulate(sample(seed), 64, 17, 16, name=f"clip{seed}") for seed in range(2)]


def small(name: str) -> dict:
    """A size and a length that suit the entry and take a second."""
    spec = ZOO[name]
    height, width = (32, 48) if spec.multiple <= 16 else (spec.multiple, 2 * spec.multiple)
    return {"height": height, "width": width, "frames": 2 * spec.stride + 1 if spec.stride > 1 else 5, "fps": 8}


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("name", ZOO)
def test_every_entry_films_with_its_real_class(name, truths, tmp_path):
    if name.startswith("cosmos") and importlib.util.find_spec("torchvision") is None:
        pytest.skip("Cosmos needs torchvision, which has no build for a CPU-only torch")
    tiny_pipelines.make(name).save_pretrained(tmp_path / "weights")
    model = open_model(name, tmp_path / "weights", **small(name))
    assert type(model.pipeline).__name__ == ZOO[name].pipeline
    if model.spec.guidance is None:
        with pytest.raises(InputError, match="guidance: is 3.0"):
            model.generate(PROTOCOL, truths, [0, 1])
    protocol = replace(PROTOCOL, model=name, guidance=3.0 if model.spec.guidance else 1.0)
    videos = generate(model, protocol, truths, 0, tmp_path / "videos")
    again = model.generate(protocol, truths[1:], [1])
    for video in videos:
        assert video.frames.shape == (9, 32, 32, 3) and video.fps == 16 and video.frames.std() > 1
    np.testing.assert_array_equal(again[0], videos[1].frames)
    manifest = json.loads((tmp_path / "videos" / "manifest.json").read_text())
    assert manifest["spec"]["repository"] == ZOO[name].repository and manifest["steps"] == 2
    assert manifest["weights"] == str(tmp_path / "weights") and manifest["dtype"] == "torch.float32"


def test_time_is_resampled_by_the_models_own_rate(truths):
    spec = replace(ZOO["ltx-video"], **small("ltx-video"))  # 17 frames at 8 fps last 2 s
    video = StockModel(spec, tiny_pipelines.make("ltx-video")).generate(PROTOCOL, truths[:1], [0])[0]
    assert (video[1:-1:2] == video[2::2]).all(), "at half the rate every frame is shown twice"
    with pytest.raises(InputError, match="last 2.00 s, the protocol 4.00 s"):
        StockModel(spec, None).generate(replace(PROTOCOL, frames=65), truths[:1], [0])


def test_the_square_comes_back_out_of_a_wide_picture():
    frame = simulate(sample(3), 64, 2, 16).frames[0]
    wide = widen(frame, 64, 112)
    assert wide.shape == (64, 112, 3)
    np.testing.assert_array_equal(to_square(Clip(wide[None], 16), 64, crop=True).frames[0], frame)
    assert (wide[:, 0] == wide[:, 23]).all(), "edges fill the rest"


def test_bad_wishes_are_refused(tmp_path):
    with pytest.raises(InputError, match="ltx-video"):
        open_model("ltx-vide")
    with pytest.raises(InputError, match="height: is 500.*Use 512"):
        open_model("ltx-video", tmp_path, height=500)
    with pytest.raises(InputError, match="frames: is 30.*Use 25 or 33"):
        open_model("ltx-video", tmp_path, frames=30)
    tiny_pipelines.make("ltx-video").save_pretrained(tmp_path / "ltx")
    with pytest.raises(InputError, match="is 'LTXImageToVideoPipeline'.* It should be 'WanImage"):
        open_model("wan2.2-ti2v-5b", tmp_path / "ltx")


def test_without_weights_the_message_says_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="pisa download ltx-video"):
        open_model("ltx-video")


def test_a_device_that_is_not_there_is_refused(tmp_path):
    tiny_pipelines.make("ltx-video").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="device: 'cuda:99' cannot be used"):
        open_model("ltx-video", tmp_path, device="cuda:99")


def test_out_of_memory_says_what_would_fit(truths):
    def call(**arguments):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    spec = replace(ZOO["ltx-video"], **small("ltx-video"))
    with pytest.raises(InputError, match="GPU memory: ran out at 32x64.*--offload"):
        StockModel(spec, call).generate(PROTOCOL, truths[:1], [0])


def test_a_tokenizer_that_comes_as_sentencepiece_alone_is_read(tmp_path):
    """As in LTX-Video's and CogVideoX's folders."""
    lines = (f"a red ball falls on floor {number}" for number in range(200))
    SentencePieceTrainer.train(
        sentence_iterator=lines, model_prefix=str(tmp_path / "spiece"), vocab_size=40, hard_vocab_limit=False
    )
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": 0})
    ids = AutoTokenizer.from_pretrained(tmp_path)("a red ball falls").input_ids
    assert len(ids) > 4 and len(set(ids)) > 4
