"""Downloads and uploads, against a hub on this machine: what is asked for, resumed, checked, refused, published."""

import shutil

import huggingface_hub.constants
import numpy as np
import pandas as pd
import pytest
from fake_hub import Hub

from pisa_kit.clips.clip import Clip
from pisa_kit.clips.formats import write_clip
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import write_json
from pisa_kit.models import hub, publish

CONTENT = {"pisabench/real.zip": b"real", "pisabench/sim.zip": b"sim", "training_data/psft.zip": b"drops"}
TOKEN = "hf_secretsecretsecretsecretsecretsecret"


@pytest.fixture
def server(monkeypatch):
    server = Hub(CONTENT)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.shutdown()
    server.server_close()


def test_only_what_is_named_is_fetched_and_only_once(server, tmp_path):
    paths = hub.download("bench", tmp_path)
    assert [path.read_bytes() for path in paths] == [b"real", b"sim"]
    assert hub.download("bench", tmp_path) == paths
    assert sorted(server.asked) == ["pisabench/real.zip", "pisabench/sim.zip"]


def test_a_wrong_checksum_is_said_and_what_was_whole_is_kept(server, tmp_path):
    server.sent["pisabench/sim.zip"] = b"SIM"
    with pytest.raises(InputError, match=r"sim.zip: checksum: is not the hub's. Delete the file and call"):
        hub.download("bench", tmp_path)
    with pytest.raises(InputError, match=r"sim.zip: checksum: is not the hub's"):
        hub.download("bench", tmp_path)
    server.sent.clear()
    (tmp_path / "pisabench/sim.zip").unlink()
    assert [path.read_bytes() for path in hub.download("bench", tmp_path)] == [b"real", b"sim"]
    assert server.asked.count("pisabench/real.zip") == 1


def test_too_little_space_is_said_before_anything_is_fetched(server, tmp_path):
    server.size = 2 * shutil.disk_usage(tmp_path).free
    with pytest.raises(InputError, match="space: has .* GB left"):
        hub.download("bench", tmp_path)
    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "GatedRepo", "Accept the licence"),
        (404, "RepoNotFound", "does not exist or is private"),
        (401, "", "by hand from https://huggingface.co/datasets/nyu-visionx/pisa-experiments"),
    ],
)
def test_what_goes_wrong_has_a_remedy_and_holds_no_secret(server, tmp_path, status, code, said, caplog, capfd):
    server.refuse = status, code
    with pytest.raises(InputError, match=said) as caught:
        hub.download("bench", tmp_path)
    assert server.tokens == {f"Bearer {TOKEN}"}, "the token went to the hub, and nowhere else"
    assert TOKEN not in str(caught.value) + caplog.text + "".join(capfd.readouterr())


def test_without_a_connection_the_page_is_named_though_the_folder_is_there(server, tmp_path):
    hub.download("bench", tmp_path)
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match="download: failed .* by hand from"):
        hub.download("bench", tmp_path)


def test_a_full_disk_is_said(server, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "snapshot_download", full)
    with pytest.raises(InputError, match="space: ran out"):
        hub.download("bench", tmp_path)


def test_names_that_lead_out_of_the_folder_and_unknown_ones_are_refused(server, tmp_path):
    with pytest.raises(InputError, match="'ltx-video'"):
        hub.download("ltx-vidoe", tmp_path)
    server.files = {"../evil.safetensors": b"weights"}
    with pytest.raises(InputError, match="download: failed .*../evil.safetensors"):
        hub.download("sam2", tmp_path)
    server.files = {}
    with pytest.raises(InputError, match="is not there"):
        hub.download("psft", tmp_path)


def test_two_models_do_not_meet_in_one_folder(server, tmp_path):
    server.files = {"model.safetensors": b"one"}
    first = hub.download("sam2", tmp_path)
    server.files = {"model.safetensors": b"two"}
    second = hub.download("depth-anything-v2", tmp_path)
    assert [path.read_bytes() for path in (*first, *second)] == [b"one", b"two"]


def test_a_file_put_there_by_hand_is_used_if_it_is_right_and_never_deleted(server, tmp_path):
    own = tmp_path / "training_data" / "psft.zip"
    own.parent.mkdir()
    own.write_bytes(b"drops")
    assert hub.download("psft", tmp_path) == [own] and server.asked == []
    own.write_bytes(b"mine")
    with pytest.raises(InputError, match="Delete the file, or choose"):
        hub.download("psft", tmp_path)
    assert own.read_bytes() == b"mine"


def test_of_a_model_only_what_is_loaded_is_fetched(server, tmp_path):
    wanted = {"model_index.json", "unet/diffusion_pytorch_model.safetensors"}
    others = {"unet/diffusion_pytorch_model.fp16.safetensors", "svd_xt.safetensors", "text_encoder/pytorch_model.bin"}
    server.files = {name: name.encode() for name in wanted | others}
    paths = hub.download("stable-video-diffusion", tmp_path)
    assert set(server.asked) == wanted and len(paths) == 2
    server.files = {"pytorch_lora_weights.safetensors": b"adapter"}
    assert [path.parent.name for path in hub.download("me/drops", tmp_path)] == ["drops"]


@pytest.fixture
def run(tmp_path):
    """What a training, a generation and an evaluation leave behind."""
    adapter = tmp_path / "psft_16_clips_seed0" / "adapter_4"
    adapter.mkdir(parents=True)
    (adapter / "pytorch_lora_weights.safetensors").write_bytes(b"adapter")
    write_json(adapter.parent / "settings.json", {"steps": 8, "learning_rate": 0.004, "weights": {"seg": 1.0}})
    write_json(adapter.parent / "validation.json", {"looks": [{"step": 0, "l2": 0.0512345}, {"step": 4, "l2": 0.04}]})
    (adapter.parent / "checkpoint.safetensors").write_bytes(b"moments")
    scores = pd.DataFrame({"name": ["000", "001"], "l2": [0.1, 0.2], "seed": [0, 1]})
    scores.to_csv(tmp_path / "scores.csv", index=False)
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)
    write_clip(Clip(frames, 16, name="a"), tmp_path / "videos" / "a.npz")
    write_json(tmp_path / "videos" / "manifest.json", {"model": str(tmp_path / "wan"), "steps": 2})
    return adapter, tmp_path / "scores.csv", tmp_path / "videos"


def test_push_sends_adapter_card_settings_scores_and_videos(server, run, tmp_path):
    files = publish.what_to_push(run[0], "me/drops", *run[1:], base="wan2.2-ti2v-5b")
    assert server.pushed == {} and server.asked == [], "what would be sent is known before anything is"
    expected = {"README.md", "pytorch_lora_weights.safetensors", "settings.json", "validation.json", "scores.csv"}
    assert set(files) == expected | {"videos/a.mp4", "videos/manifest.json"}
    assert publish.push(files, "me/drops") == f"{server.address}/me/drops"
    assert set(server.pushed) == set(files) and server.pushed["pytorch_lora_weights.safetensors"] == b"adapter"
    assert server.created[0]["visibility"] == "private" and server.pushed["videos/a.mp4"][4:8] == b"ftyp"
    card = server.pushed["README.md"].decode()
    for part in (
        "base_model: Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        "- lora",
        "load_lora_weights",
        "| learning_rate | 0.004 |",
        "| 0.0 | 0.0512 |",
        "| l2 | 0.15 |",
        "| steps | 4 |",
        "| weights | {'seg': 1.0} |",
    ):
        assert part in card, part
    assert "license:" not in card and "| seed |" not in card and "| name |" not in card
    sent = b"".join(server.pushed.values())
    assert str(tmp_path).encode() not in sent and TOKEN.encode() not in sent


def test_push_of_a_pipeline_and_of_what_is_none(server, tmp_path):
    with pytest.raises(InputError, match="model_index.json"):
        publish.what_to_push(tmp_path, "me/drops")
    write_json(tmp_path / "model_index.json", {})
    with pytest.raises(InputError, match="_class_name: is None. It should be a valid string"):
        publish.what_to_push(tmp_path, "me/drops")
    write_json(tmp_path / "model_index.json", {"_class_name": "WanImageToVideoPipeline"})
    files = publish.what_to_push(tmp_path, "me/drops")
    assert b"A `WanImageToVideoPipeline`. Load it with diffusers' `from_pretrained`" in files["README.md"]
    server.refuse = 403, ""
    with pytest.raises(InputError, match="upload: failed .*hf auth login") as caught:
        publish.push(files, "me/drops")
    assert TOKEN not in str(caught.value)
