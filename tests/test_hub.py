"""Downloads without a network: what is asked for, resumed, checked and refused, with the hub's own error classes."""

import hashlib
import shutil
from types import SimpleNamespace

import httpx2
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import write_json
from pisa_kit.models import hub

CONTENT = {"pisabench/real.zip": b"real", "pisabench/sim.zip": b"sim", "training_data/psft.zip": b"drops"}


@pytest.fixture
def server(monkeypatch):
    """A hub that serves CONTENT; `asked` lists the downloads."""
    server = SimpleNamespace(asked=[], content=dict(CONTENT), size=None, fail=None)

    def tree(self, repository, repo_type, recursive):
        if server.fail:
            raise server.fail
        for path, data in CONTENT.items():
            lfs = SimpleNamespace(sha256=hashlib.sha256(data).hexdigest())
            yield SimpleNamespace(path=path, size=server.size or len(data), lfs=lfs)

    def fetch(repository, path, repo_type, local_dir):
        server.asked.append(path)
        target = local_dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(server.content[path])

    monkeypatch.setattr(hub.HfApi, "list_repo_tree", tree)
    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    return server


def test_only_what_is_named_is_fetched_and_only_once(server, tmp_path):
    paths = hub.download("bench", tmp_path)
    assert [path.read_bytes() for path in paths] == [b"real", b"sim"]
    assert hub.download("bench", tmp_path) == paths
    assert server.asked == ["pisabench/real.zip", "pisabench/sim.zip"]


def test_a_wrong_checksum_removes_the_file(server, tmp_path):
    server.content["pisabench/sim.zip"] = b"SIM"
    with pytest.raises(InputError, match=r"sim.zip: checksum: is not the hub's"):
        hub.download("bench", tmp_path)
    assert (tmp_path / "pisabench/real.zip").exists() and not (tmp_path / "pisabench/sim.zip").exists()
    server.content = dict(CONTENT)
    hub.download("bench", tmp_path)
    assert server.asked.count("pisabench/real.zip") == 1, "what was whole is kept"


def test_too_little_space_is_said_before_anything_is_fetched(server, tmp_path):
    server.size = 2 * shutil.disk_usage(tmp_path).free
    with pytest.raises(InputError, match="space: has .* GB left"):
        hub.download("bench", tmp_path)
    assert server.asked == []


def answer(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GatedRepoError("gated", response=answer(403)), "Accept the licence"),
        (RepositoryNotFoundError("none", response=answer(404)), "does not exist or is private"),
        (httpx2.ConnectError("no route"), "by hand from https://huggingface.co/datasets/nyu-visionx/pisa-experiments"),
        (httpx2.ReadTimeout(""), "failed .ReadTimeout."),
        (OSError(28, "No space left on device"), "ran out"),
    ],
)
def test_what_goes_wrong_has_a_remedy(server, tmp_path, error, said):
    server.fail = error
    with pytest.raises(InputError, match=said):
        hub.download("bench", tmp_path)


def test_an_unknown_name_suggests_the_nearest(tmp_path):
    with pytest.raises(InputError, match="'ltx-video'"):
        hub.download("ltx-vidoe", tmp_path)


def test_pickled_weights_of_models_are_left_out(server, tmp_path, monkeypatch):
    monkeypatch.setitem(CONTENT, "model.bin", b"pickle")
    monkeypatch.setitem(CONTENT, "model.safetensors", b"weights")
    server.content = dict(CONTENT)
    paths = hub.download("sam2", tmp_path)
    assert tmp_path / "sam2" / "model.safetensors" in paths and "model.bin" not in [path.name for path in paths]


def test_two_models_do_not_meet_in_one_folder(server, tmp_path):
    hub.download("sam2", tmp_path)
    server.content = {path: data + b"2" for path, data in CONTENT.items()}
    with pytest.raises(InputError, match="checksum"):
        hub.download("depth-anything-v2", tmp_path)
    assert all(path.exists() for path in hub.download("sam2", tmp_path))


def test_a_file_put_there_by_hand_is_not_deleted(server, tmp_path):
    own = tmp_path / "training_data" / "psft.zip"
    own.parent.mkdir()
    own.write_bytes(b"mine")
    with pytest.raises(InputError, match="Delete the file"):
        hub.download("psft", tmp_path)
    assert own.read_bytes() == b"mine"


def test_of_a_pipeline_only_what_diffusers_loads_is_fetched(server, tmp_path, monkeypatch):
    wanted = {"model_index.json", "unet/diffusion_pytorch_model.safetensors"}
    others = {"unet/diffusion_pytorch_model.fp16.safetensors", "svd_xt.safetensors", "text_encoder/pytorch_model.bin"}
    for path in list(CONTENT):
        monkeypatch.delitem(CONTENT, path)
    for path in wanted | others:
        monkeypatch.setitem(CONTENT, path, path.encode())
    server.content = dict(CONTENT)
    hub.download("stable-video-diffusion", tmp_path)
    assert set(server.asked) == wanted


def test_a_fault_of_ours_is_not_taken_for_the_network(server, tmp_path):
    server.fail = TypeError("a bug")
    with pytest.raises(TypeError):
        hub.download("bench", tmp_path)


def tuned(folder):
    pipeline = folder / "psft_16_clips_seed0" / "pipeline_4"
    (pipeline / "transformer").mkdir(parents=True)
    write_json(pipeline / "model_index.json", {"_class_name": "WanImageToVideoPipeline"})
    (pipeline / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    write_json(pipeline.parent / "settings.json", {"steps": 4, "learning_rate": 0.004})
    write_json(pipeline.parent / "validation.json", [{"step": 0, "l2": 0.0512345}, {"step": 4, "l2": 0.04}])
    return pipeline


def test_push_sends_the_pipeline_and_a_card_of_how_it_was_made(tmp_path, monkeypatch):
    sent = {}
    monkeypatch.setattr(hub.HfApi, "create_repo", lambda self, name, **kw: sent.update(repository=name, **kw))
    monkeypatch.setattr(hub.HfApi, "upload_folder", lambda self, **kw: sent.update(kw))
    monkeypatch.setattr(hub.ModelCard, "push_to_hub", lambda self, name: sent.update(card=str(self)))
    assert hub.push(tuned(tmp_path), "me/drops") == "https://huggingface.co/me/drops"
    assert sent["repository"] == "me/drops" and sent["private"] and sent["folder_path"].name == "pipeline_4"
    for part in (
        "license: apache-2.0",
        "pipeline_tag: image-to-video",
        "| learning_rate | 0.004 |",
        "| 0.0 | 0.0512 |",
    ):
        assert part in sent["card"], part


def test_push_without_a_pipeline_or_a_login_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="model_index.json"):
        hub.push(tmp_path, "me/drops")

    def refuse(self, name, **kw):
        raise httpx2.ConnectError("no network")

    monkeypatch.setattr(hub.HfApi, "create_repo", refuse)
    with pytest.raises(InputError, match="upload: failed .*no network.*hf auth login"):
        hub.push(tuned(tmp_path), "me/drops")


def test_any_repository_of_a_model_can_be_pulled(server, tmp_path):
    paths = hub.download("me/drops", tmp_path)
    assert {path.relative_to(tmp_path).parts[0] for path in paths} == {"drops"}
