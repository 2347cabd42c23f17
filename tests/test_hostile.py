"""Whatever comes from outside is used or refused by name: no traceback, no hang, nothing outside the output folder."""

import json
import os
import shutil
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pisa_kit.cli import main
from pisa_kit.clips.clip import Clip
from pisa_kit.clips.formats import read_clip, write_clip
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import DATA, locked
from pisa_kit.metrics.scoring import evaluate, score_file
from pisa_kit.models.embedded import assemble, load
from pisa_kit.models.generation import Protocol, generate
from pisa_kit.perception.prepare import Settings, prepare
from pisa_kit.sim.datasets import Recipe, read_dataset, write_dataset
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.settings import Video
from pisa_kit.sim.simulate import simulate
from pisa_kit.viz.widgets import inspect

EXAMPLES = int(os.environ.get("PISA_SEARCH", 60))  # of each search; thousands for a night
SEARCH = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
SMALL = ["--count", "1", "--size", "32", "--frames", "3", "--workers", "1"]
BALL = str(DATA / "balldrop_120fps.mp4")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder inside another one that must stay as it is."""
    folder = tmp_path / "inside"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert [path.name for path in tmp_path.iterdir()] == ["inside"], "something was written outside"


def refused(capsys, monkeypatch, *words: str) -> str:
    """What a command says that must be refused within 10 seconds with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["pisa", *map(str, words)])
    start = time.monotonic()
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr().err
    assert left.value.code == 2, (words, said)
    assert "Traceback" not in said and time.monotonic() - start < 10
    return said


NUMBERS = {
    "fps": ("1e-9", "0", "-1", "nan", "inf", "1e300", "1e9", "ten"),
    "frames": ("0", "1", "-3", "1000000000", "2.5"),
    "size": ("0", "1", "60000", "-64", "x"),
    "seed": ("-1", "1e30", "99999999999999999999"),
    "count": ("0", "-5", "1.5", "99999999999"),
    "workers": ("0", "-1", "100000"),
    "others": ("0,500", "3,1", "-1,2", "1", "a,b", "0.5,1"),
    "distance": ("3,2", "nan,2", "-1,2", "1,2,3", "", "inf,inf"),
    "height": ("2,1", "0,1e9", "x,1"),
    "layout": ("real", "zip", "", "../npz"),
    "objects": ("all", ""),
    "backgrounds": ("none",),
}


@pytest.mark.parametrize("option, value", [(name, value) for name, values in NUMBERS.items() for value in values])
def test_numbers_of_simulate(place, capsys, monkeypatch, option, value):
    said = refused(capsys, monkeypatch, "simulate", "out", *SMALL, f"--{option}={value}")
    assert option in said or option.rstrip("s") in said


OTHERS = {
    "import": [
        ("--fps", "1e-9", "--point", "28,74"),
        ("--fps", "1e9", "--point", "28,74"),
        ("--fps", "nan", "--point", "28,74"),
        ("--fps", "120", "--point", "5000,3"),
        ("--fps", "120", "--point", "a,b"),
        ("--fps", "120", "--point", "nan,3"),
        ("--fps", "120", "--point", "28,74", "--start", "-5"),
        ("--fps", "120", "--point", "28,74", "--start", "100000"),
        ("--fps", "120", "--point", "28,74", "--rotate", "45"),
        ("--fps", "120"),
        ("--point", "28,74"),
        ("--fps", "120", "--point", "28,74", "--no-track", "--ends", "1,2,3,4"),
    ],
    "evaluate": [
        ("--seeds", "0"),
        ("--seeds", "-1"),
        ("--check", "card.json", "--model", "embedded"),
        ("--check", "card.json", "--lora", "adapter"),
    ],
}


@pytest.mark.parametrize("options", OTHERS["import"], ids=" ".join)
def test_numbers_of_import(place, capsys, monkeypatch, options):
    refused(capsys, monkeypatch, "import", BALL, "out", *options)
    assert not (place / "out").exists()


@pytest.mark.parametrize("options", OTHERS["evaluate"], ids=" ".join)
def test_options_of_evaluate_that_do_not_fit(place, capsys, monkeypatch, options):
    said = refused(capsys, monkeypatch, "evaluate", "data", "videos", *options)
    assert options[-2].strip("-") in said and not (place / "videos").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--speed", "-1"),
        ("plan", "--speed", "nan"),
        ("plan", "--speed", "0"),
        ("plan", "--preset", "huge"),
        ("pretrain", "judge", "--clips", "0"),
        ("pretrain", "judge", "--workers", "0"),
        ("pretrain", "everything"),
        ("train", "PSFT", "--seed", "-1"),
        ("train", "magic", "--preset", "smoke"),
        ("study", "--preset", "tiny"),
        ("study", "--preset", "smoke", "--set", "psft.stepz=1"),
        ("study", "--preset", "smoke", "--set", "psft.clips=many"),
        ("study", "--preset", "smoke", "--only", "99"),
        ("study", "--preset", "smoke", "--bench", "nowhere"),
        ("study", "--preset", "gpu"),
        ("download", "../.."),
        ("download", "a/../b"),
        ("download", "a\nb/c"),
        ("download", "/etc"),
        ("download", ""),
        ("generate", "magic", "data", "out"),
        ("prepare", "nowhere", "out"),
        ("evaluate", "nowhere", "nowhere"),
        ("score", "nowhere.jsonl"),
        ("import", "nowhere.mp4", "out", "--fps", "120", "--point", "1,1"),
        ("push", "nowhere", "owner/name"),
        ("simulate", "x" * 300, *SMALL),
        ("simulate", "bad\ud800name", *SMALL),
        ("simulate", "/proc/none", *SMALL),
    ],
    ids=lambda words: ascii(" ".join(words))[:60],
)
def test_commands(place, capsys, monkeypatch, words):
    refused(capsys, monkeypatch, *words)


def test_files_in_the_way(place, capsys, monkeypatch):
    (place / "file").write_text("x")
    (place / "folder").mkdir()
    os.mkfifo(place / "pipe")
    (place / "loop").symlink_to("loop")
    (place / "binary.jsonl").write_bytes(bytes(range(256)))
    (place / "empty.jsonl").write_text("")
    (place / "pairs.jsonl").write_text(json.dumps({"gt_mask": "a", "gt_fps": 1, "pd_mask": "b", "pd_fps": 1}))
    for words in (
        ("simulate", "file", *SMALL),
        ("simulate", "file/below", *SMALL),
        ("simulate", "loop", *SMALL),
        ("score", "folder"),
        ("score", "pipe"),
        ("score", "loop"),
        ("score", "binary.jsonl"),
        ("score", "empty.jsonl"),
        ("score", "pairs.jsonl", "-o", "pairs.jsonl"),
        ("score", "pairs.jsonl", "-o", "folder"),
        ("score", "pairs.jsonl", "-o", "/dev/null"),
        ("score", "pairs.jsonl", "-o", "file/scores.jsonl"),
        ("import", "folder", "out", "--fps", "120", "--point", "1,1"),
        ("import", "file", "out", "--fps", "120", "--point", "1,1"),
        ("import", "pipe", "out", "--fps", "120", "--point", "1,1"),
        ("prepare", "folder", "folder"),
        ("prepare", "pipe", "out"),
        ("study", "--preset", "smoke", "--runs", "file"),
        ("study", "--preset", "smoke", "--model", "folder"),
        ("study", "--preset", "smoke", "--bench", "folder"),
        ("evaluate", "folder", "folder"),
        ("push", "folder", "owner/name"),
    ):
        refused(capsys, monkeypatch, *words)
    assert (place / "pairs.jsonl").stat().st_size > 10, "the input is not replaced"


DEEP = "[" * 200_000 + "]" * 200_000
MANIFESTS = ["null", "3", "[]", "{}", DEEP, "{", '{"recipe": null, "clips": []}', '{"recipe": {}, "clips": 3}']
MANIFESTS += ['{"recipe": {}, "clips": [{"name": "../y", "bytes": 3}]}', '{"recipe": {"count": 1}, "clips": [7]}']
MANIFESTS += ['{"settings": {}, "clips": {"../y": {"frames": 1}}}', '{"settings": 3, "clips": {}}', '"\\ud800"']
MANIFESTS += [
    '{"settings": {}, "clips": {"/etc/x": {"frames": 1}}}',
    '{"settings": {}, "clips": {"a\\nb": {"frames": 1}}}',
]


@pytest.mark.parametrize("text", MANIFESTS, ids=lambda text: text[:40])
def test_manifests(place, capsys, monkeypatch, text):
    (place / "data").mkdir()
    (place / "data" / "manifest.json").write_text(text)
    refused(capsys, monkeypatch, "simulate", "data", *SMALL)
    refused(capsys, monkeypatch, "evaluate", "data", "data")
    refused(capsys, monkeypatch, "generate", "embedded", "data", "out")
    with pytest.raises(InputError, match=r"manifest\.json"):
        read_dataset("data")
    shutil.rmtree(place / "data" / "manifest.json", ignore_errors=True)


@pytest.fixture(scope="module")
def clip():
    return simulate(sample(0), 32, 3, 16)


def stored(clip: Clip, path: Path, **facts) -> Path:
    """The clip's file with other facts."""
    write_clip(clip, path)
    with np.load(path) as file:
        arrays = dict(file)
    known = json.loads(arrays["facts"].tobytes()) | facts
    arrays["facts"] = np.frombuffer(json.dumps(known).encode(), np.uint8)
    np.savez_compressed(path, **arrays)
    return path


WRONG = {
    "name": ["../../x", "/etc/x", "a//b", "", ".", "a\nb", "a\\b", "x" * 300, 3, None, ["a"], "a/../b", "\ud800"],
    "fps": [0, -1, "16", None, 1e9, 1e-9, True, [16]],
    "caption": [None, 3, ["a"], {}],
    "camera": [3, "near", {}, {"focal": "x", "height": 1, "center": [1, 1]}, {"focal": 1, "height": 1, "center": [1]}],
    "info": [None, 3, [], {"points": "here"}, {"points": [{"positive": [["a", 1]]}]}, {"points": []}],
    "format": ["pisa_kit clip 0", None, 3, ["x"]],
}


@pytest.mark.parametrize("field, value", [(name, value) for name, values in WRONG.items() for value in values])
def test_stored_facts(tmp_path, clip, field, value):
    with pytest.raises(InputError, match=rf"clip\.npz: .*({field}|points|positive)"):
        read_clip(stored(clip, tmp_path / "clip.npz", **{field: value}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@SEARCH
@given(st.sampled_from([*WRONG, "other"]), JSON)
def test_any_facts_are_read_or_refused(tmp_path, clip, field, value):
    try:
        found = read_clip(stored(clip, tmp_path / "clip.npz", **{field: value}))
    except InputError:
        return
    assert 0.1 <= found.fps <= 1e5 and ".." not in found.name and isinstance(found.caption, str)


@SEARCH
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8), st.booleans())
def test_damaged_clip_files_are_read_or_refused(tmp_path, clip, where, junk, cut):
    path = write_clip(clip, tmp_path / "clip.npz")
    data = bytearray(path.read_bytes())
    where %= len(data)
    data[where : where + len(junk)] = junk
    path.write_bytes(data[:where] if cut else data)
    try:
        assert read_clip(path).frames.ndim == 4
    except InputError as error:
        assert "clip.npz" in str(error)


HEADER = st.text(alphabet="{}()[]'\":,<>|u1f8Oshapedecrfortn_ 0123456789-", max_size=60)


@SEARCH
@given(HEADER)
def test_any_array_header_is_read_or_refused(tmp_path, header):
    header = header.encode() + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64
    path = tmp_path / "mask.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mask.npy", data)
    (tmp_path / "pairs.jsonl").write_text(
        json.dumps({"gt_mask": "mask.npz", "gt_fps": 16, "pd_mask": "mask.npz", "pd_fps": 16})
    )
    report = score_file(tmp_path / "pairs.jsonl")
    assert report.total == 1 and (report.scored or "mask.npz" in report.failures[0][1])


@SEARCH
@given(st.one_of(JSON.map(json.dumps), st.text(max_size=40)))
def test_any_line_is_scored_or_named(tmp_path, line):
    if not line.strip() or "\n" in line:
        return
    (tmp_path / "pairs.jsonl").write_text(line, encoding="utf-8", errors="surrogatepass")
    try:
        report = score_file(tmp_path / "pairs.jsonl")
    except InputError as error:
        assert "pairs.jsonl" in str(error)
        return
    assert report.total == 1 and not report.scored and report.failures[0][1]


@pytest.mark.parametrize("kind", ["encrypted", "lzma", "bzip2", "bomb"])
def test_exotic_archives_cost_one_pair(tmp_path, kind):
    path = tmp_path / "bad.npz"
    method = {"lzma": zipfile.ZIP_LZMA, "bzip2": zipfile.ZIP_BZIP2}.get(kind, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("mask.npy", b"not an array")
    if kind in ("encrypted", "bomb"):
        data = bytearray(path.read_bytes())
        central = data.rfind(b"PK\1\2")
        if kind == "encrypted":
            data[6] |= 1
            data[central + 8] |= 1
        else:
            data[central + 24 : central + 28] = b"\xff\xff\xff\x7f"
        path.write_bytes(data)
    np.savez(tmp_path / "good.npz", mask=np.ones((3, 1, 8, 8), bool))
    pair = {"gt_mask": "good.npz", "gt_fps": 16, "pd_fps": 16}
    lines = [json.dumps(pair | {"pd_mask": name}) for name in ("bad.npz", "good.npz")]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    report = score_file(tmp_path / "pairs.jsonl")
    assert report.scored == 1 and "bad.npz" in report.failures[0][1]


def test_clips_that_were_lost_or_replaced_are_made_again(tmp_path):
    recipe = Recipe(3, video=Video(32, 3, 16))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "00000.npz").write_bytes(b"junk that was there before")
    write_dataset(tmp_path / "data", recipe, workers=1)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "data").glob("*.npz")}
    (tmp_path / "data" / "00001.npz").unlink()
    (tmp_path / "data" / "00002.npz").write_bytes(b"")
    (tmp_path / "data" / ".00001.unfinished.x.npz").write_bytes(b"half")
    write_dataset(tmp_path / "data", recipe, workers=1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").glob("[0-9]*.npz")} == whole
    assert not list((tmp_path / "data").glob(".*unfinished*"))
    prepare(tmp_path / "data", tmp_path / "ready", Settings(size=32))
    (tmp_path / "ready" / "00001.npz").unlink()
    prepare(tmp_path / "data", tmp_path / "ready", Settings(size=32))
    assert (tmp_path / "ready" / "00001.npz").exists()
    for folder in ("data", "ready"):  # of the same size, but not the same
        path = tmp_path / folder / "00002.npz"
        good = path.read_bytes()
        path.write_bytes(bytes(len(good)))
        for verify in (False, True):
            write_dataset(tmp_path / "data", recipe, workers=1, verify=verify)
            prepare(tmp_path / "data", tmp_path / "ready", Settings(size=32), verify=verify)
            assert (path.read_bytes() == good) == verify


def test_stopped_at_once(place, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pisa_kit.sim.datasets.simulate", stop)
    monkeypatch.setattr(sys, "argv", ["pisa", "simulate", "out", *SMALL])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr().err.strip()
    assert left.value.code == 130 and said.endswith("pisa: stopped. Call the command again to continue.")
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert len(read_dataset(write_dataset("out", Recipe(1, video=Video(32, 3, 16)), workers=1))) == 1


def test_what_the_disk_cannot_hold_is_refused_before_it_starts(place, capsys, monkeypatch):
    said = refused(capsys, monkeypatch, "simulate", "out", "--count", "90000000", "--size", "4096")
    assert "count: needs about" in said and "GB" in said and "hours" in said
    assert not list((place / "out").glob("*.npz"))


def test_two_writers_do_not_mix(tmp_path):
    with locked(tmp_path / "data"), pytest.raises(InputError, match="is being written by another process"):
        write_dataset(tmp_path / "data", Recipe(1, video=Video(32, 3, 16)), workers=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "pipeline"
    assemble().save_pretrained(folder)
    return folder


def broken(model: Path, to: Path, file: str, data) -> Path:
    """A copy of the pipeline in which one file is something else."""
    shutil.copytree(model, to)
    path = to / file
    if data is None:
        path.unlink()
    elif isinstance(data, bytes):
        path.write_bytes(data)
    else:
        path.write_text(json.dumps(data(json.loads(path.read_text()))))
    return to


INDEX = "model_index.json"
MODELS = {
    "index a list": (INDEX, lambda _: [1]),
    "unknown library": (INDEX, lambda index: index | {"vae": ["elsewhere", "AutoencoderKLWan"]}),
    "os.system": (INDEX, lambda index: index | {"tokenizer": ["os", "system"]}),
    "index of numbers": (INDEX, lambda index: index | {"scheduler": [1, 2]}),
    "no class": (INDEX, lambda index: {key: value for key, value in index.items() if key != "_class_name"}),
    "empty text encoder": ("text_encoder/model.safetensors", b""),
    "truncated text encoder": ("text_encoder/model.safetensors", b"\x80\0\0\0\0\0\0\0{"),
    "no text encoder weights": ("text_encoder/model.safetensors", None),
    "text encoder of nothing": ("text_encoder/config.json", b"null"),
    "tokenizer of junk": ("tokenizer/tokenizer.json", b"{"),
    "no tokenizer": ("tokenizer/tokenizer.json", None),
    "scheduler of junk": ("scheduler/scheduler_config.json", b"[]"),
    "no scheduler": ("scheduler/scheduler_config.json", None),
    "truncated transformer": ("transformer/diffusion_pytorch_model.safetensors", b"\x80\0"),
    "no autoencoder": ("vae/diffusion_pytorch_model.safetensors", None),
}


@pytest.mark.filterwarnings("ignore:It is deprecated to pass")  # diffusers takes a list for a path
@pytest.mark.parametrize("case", MODELS)
def test_damaged_models(tmp_path, model, case):
    with pytest.raises(InputError, match=r"model"):
        load(broken(model, tmp_path / "model", *MODELS[case]))


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_weights_that_are_not_numbers(tmp_path, model, part):
    shutil.copytree(model, tmp_path / "model")
    path = tmp_path / "model" / part / "diffusion_pytorch_model.safetensors"
    weights = safetensors.torch.load_file(path)
    next(iter(weights.values())).view(-1)[0] = torch.nan
    safetensors.torch.save_file(weights, path)
    with pytest.raises(InputError, match=f"{part}: has weights that are not numbers"):
        load(tmp_path / "model")


def test_calls_from_python(tmp_path, clip):
    pipeline, truths = assemble(), [replace(clip, name="a")]
    protocol = Protocol("tiny", steps=1, size=32, frames=3)
    for call in (
        lambda: inspect("path", clip),
        lambda: inspect(clip, "path"),
        lambda: inspect(clip, {"a": 3}),
        lambda: inspect([], []),
        lambda: evaluate({"a": clip}, [clip]),
        lambda: evaluate([clip], [3]),
        lambda: read_clip(3),
        lambda: Clip([1], 16),
        lambda: Clip(clip.frames, 16, masks=[1]),
        lambda: generate(pipeline, protocol, truths, 0, tmp_path / "a", batch=0),
        lambda: generate(pipeline, replace(protocol, steps=0), truths, 0, tmp_path / "b"),
        lambda: generate(pipeline, protocol, truths, -1, tmp_path / "c"),
        lambda: write_dataset(tmp_path / "d", Recipe(1.5)),
        lambda: write_dataset(tmp_path / "e", Recipe(1), workers=0),
        lambda: simulate(sample(0), 32, 3, 1e-9),
    ):
        with pytest.raises(InputError):
            call()
