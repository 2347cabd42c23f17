"""Clips in every layout: what is written comes back, what is damaged is named."""

import io
import json
import shutil
import stat
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from pisa_kit.clips import media, pisabench
from pisa_kit.clips.annotations import dropped_index, read_masks
from pisa_kit.clips.archives import NamedBytes
from pisa_kit.clips.clip import Camera, Clip
from pisa_kit.clips.formats import LAYOUTS, find_clips, read_clip, write_clip
from pisa_kit.clips.media import read_video, write_gif, write_mp4
from pisa_kit.clips.resize import to_square
from pisa_kit.core import storage
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import DATA
from pisa_kit.perception.footage import import_video

FOOTAGE = DATA / "balldrop_120fps.mp4"
POINTS = [{"positive": [[20.0, 30.0]], "negative": []}, {"positive": [[10.0, 4.0]], "negative": [[8.0, 1.0]]}]


def make_clip(count=5, height=36, width=48) -> Clip:
    """A smooth moving picture (jpg keeps it within a few grey levels) with every field filled in."""
    y, x = np.mgrid[:height, :width]
    frames = np.stack([np.stack([4 * x, 6 * y, x + y + 10 * t], -1) for t in range(count)]).astype(np.uint8)
    masks = np.zeros((count, 2, height, width), bool)
    masks[:, 0, 20:, :9] = True
    for index in range(count):
        masks[index, 1, index : index + 8, 6:14] = True
    generator = np.random.default_rng(0)
    return Clip(
        frames,
        24.0,
        masks=masks,
        depth=generator.random((count, height, width), dtype=np.float32),
        flow=generator.random((count - 1, height, width, 2), dtype=np.float32),
        poses=generator.random((count, 2, 7)),
        velocities=generator.random((count, 2, 6)),
        contacts=np.array([0.1, 0.15]),
        camera=Camera(60.0, 0.5, (24.0, 18.0)),
        caption="A “red” mug falls.",
        name="seen/00",
        info={"points": POINTS, "seed": 3},
    )


def zipped(folder: Path, archive: Path, top: str = "") -> Path:
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted(folder.rglob("*")):
            target.write(file, str(Path(top) / file.relative_to(folder)))
    return archive


def write_frames(folder: Path, names, size=(8, 6)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        frame = np.full((*size, 3), 90, np.uint8)
        (folder / name).write_bytes(media.encode_image(frame))
    return folder


def refusal(call, file, field: str) -> str:
    """The message of the InputError that `call` raises, which must name `file` and `field`."""
    with pytest.raises(InputError) as caught:
        call()
    assert field in caught.value.field and str(file) in caught.value.file, str(caught.value)
    assert caught.value.remedy
    return str(caught.value)


def test_npz_keeps_every_field(tmp_path):
    clip = make_clip()
    read = read_clip(write_clip(clip, tmp_path / "a.npz"))
    for field in fields(Clip):
        expected, value = getattr(clip, field.name), getattr(read, field.name)
        if isinstance(expected, np.ndarray):
            assert value.dtype == expected.dtype and np.array_equal(value, expected), field.name
        else:
            assert value == expected, field.name


def test_npz_keeps_what_is_unknown_unknown(tmp_path):
    read = read_clip(write_clip(Clip(make_clip().frames, 16), tmp_path / "a.npz"))
    assert read.masks is None and read.camera is None and read.contacts is None and read.info == {}


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "npz"])
@pytest.mark.parametrize("packed", [False, True])
def test_folder_layouts_come_back(tmp_path, layout, packed):
    clip = make_clip()
    path = write_clip(clip, tmp_path / "set" / "seen" / "00", layout)
    if packed:
        path = zipped(tmp_path / "set", tmp_path / "set.zip")
        shutil.rmtree(tmp_path / "set")
        assert [location.name for location in find_clips(path)] == ["seen/00"]
    read = read_clip(path)
    assert read.frames.shape == clip.frames.shape
    assert np.abs(read.frames.astype(int) - clip.frames).mean() < 2
    assert (read.masks is None) == (layout == "psft")
    if layout != "psft":
        assert np.array_equal(read.masks, clip.masks)
    if layout in ("sim", "real"):
        assert read.fps == 24 and read.caption == clip.caption and read.info == clip.info
    else:
        assert read.fps == 16
    assert read_clip(path, fps=8).fps == 8


def test_benchmark_files_have_the_benchmark_names(tmp_path):
    for layout in ("sim", "real", "oro", "psft"):
        write_clip(make_clip(2), tmp_path / layout, layout)
    names = {layout: {file.name for file in (tmp_path / layout).iterdir()} for layout in ("sim", "real", "oro", "psft")}
    rgba = {"rgba_00000.jpg", "rgba_00001.jpg"}
    assert names["psft"] == rgba and names["oro"] == rgba | {"mask.npy"}
    assert names["sim"] == rgba | {"mask.npz", "movie.gif", "clip_info.json"}
    assert names["real"] == {"00000.jpg", "00001.jpg", "movie.mp4", "mask.npz", "clip_info.json"}
    assert np.load(tmp_path / "sim" / "mask.npz")["mask"].shape == (2, 2, 36, 48)


def test_names_are_the_same_for_folder_zip_and_zip_with_top_folder(tmp_path):
    for name in ("seen/00", "seen/01", "unseen/00"):
        write_clip(make_clip(2), tmp_path / "sim" / name, "sim")
    expected = ["seen/00", "seen/01", "unseen/00"]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    plain = zipped(tmp_path / "sim", tmp_path / "a" / "sim.zip")
    topped = zipped(tmp_path / "sim", tmp_path / "b" / "sim.zip", "sim")
    for path in (tmp_path / "sim", plain, topped):
        locations = find_clips(path)
        assert [location.name for location in locations] == expected
        assert read_clip(locations[2]).name == "unseen/00"
    assert [location.name for location in find_clips(plain / "seen")] == ["00", "01"]
    assert len(read_clip(plain / "seen" / "01")) == 2


def test_rbga_default_rates_and_mixed_datasets(tmp_path):
    write_frames(tmp_path / "sim", ["rbga_00000.jpg", "rbga_00001.jpg"])
    write_frames(tmp_path / "real", ["00000.jpg", "00001.jpg"])
    (tmp_path / "real" / "clip_info.json").write_text(json.dumps({"points": POINTS, "text": "A cup falls."}))
    write_frames(tmp_path / "plain", ["shot_1.png", "shot_2.png", "shot_10.png"])
    write_clip(make_clip(2), tmp_path / "made.npz")
    assert read_clip(tmp_path / "sim").fps == 16 and read_clip(tmp_path / "real").fps == 120
    assert [location.name for location in find_clips(tmp_path)] == ["made", "plain", "real", "sim"]
    assert "number 3 is missing" in refusal(lambda: read_clip(tmp_path / "plain", 30), "plain", "frames")
    refusal(lambda: read_clip(tmp_path), tmp_path, "clip")


def test_plain_frames_need_a_rate(tmp_path):
    write_frames(tmp_path / "plain", ["shot_1.png", "shot_2.png"])
    refusal(lambda: read_clip(tmp_path / "plain"), "plain", "fps")
    assert read_clip(tmp_path / "plain", 30).frames.shape == (2, 8, 6, 3)


def test_real_clip_has_the_dropped_object_last(tmp_path):
    clip = make_clip()
    write_clip(clip, tmp_path / "a", "real")
    info = json.loads((tmp_path / "a" / "clip_info.json").read_text())
    info["points"].reverse()
    (tmp_path / "a" / "clip_info.json").write_text(json.dumps(info))
    read = read_clip(tmp_path / "a")
    assert dropped_index(read.info["points"]) == 1
    assert np.array_equal(read.dropped, clip.masks[:, 0])


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
@pytest.mark.parametrize("fps", [16, 29.97, 8])
def test_videos_keep_frames_and_rate(tmp_path, suffix, fps):
    frames = make_clip(6).frames
    frames[3:] = frames[2]
    path = tmp_path / f"a{suffix}"
    (write_gif if suffix == ".gif" else write_mp4)(path, frames, fps)
    read = read_clip(path)
    assert len(read) == 6, "a frozen clip keeps its frames"
    assert read.fps == pytest.approx(fps, rel=0.02) and np.abs(read.frames.astype(int) - frames).mean() < 6
    packed = zipped(tmp_path, tmp_path.parent / f"{tmp_path.name}.zip")
    assert np.array_equal(read_clip(packed).frames, read.frames)
    assert np.array_equal(read_video(path, 1, 3)[0], read.frames[1:3])
    refusal(lambda: read_video(path, 1, 9), path.name, "end")


def test_odd_mp4_grows_by_one_pixel(tmp_path):
    write_mp4(tmp_path / "a.mp4", make_clip(2).frames[:, :35, :47], 16)
    assert read_video(tmp_path / "a.mp4")[0].shape == (2, 36, 48, 3)


@pytest.mark.parametrize("suffix", [".gif", ".mp4", ".npz"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
def test_truncated_files(tmp_path, suffix, share):
    clip, path = make_clip(), tmp_path / f"a{suffix}"
    write_clip(clip, path) if suffix == ".npz" else (write_gif if suffix == ".gif" else write_mp4)(
        path, clip.frames, 16
    )
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refusal(lambda: read_clip(path), path.name, "")


def test_frame_problems(tmp_path):
    gap = write_frames(tmp_path / "gap", ["00000.jpg", "00001.jpg", "00003.jpg"])
    assert "number 2 is missing" in refusal(lambda: read_clip(gap, 16), gap, "frames")
    late = write_frames(tmp_path / "late", ["rgba_00001.jpg", "rgba_00002.jpg"])
    refusal(lambda: read_clip(late), late, "frames")
    twice = write_frames(tmp_path / "twice", ["00000.jpg", "00000.png"])
    refusal(lambda: read_clip(twice, 16), twice, "frames")
    sizes = write_frames(tmp_path / "sizes", ["00000.jpg"])
    write_frames(sizes, ["00001.jpg"], size=(8, 8))
    assert "8x8" in refusal(lambda: read_clip(sizes, 16), sizes / "00001.jpg", "frames")
    broken = write_frames(tmp_path / "broken", ["00000.jpg", "00001.jpg"])
    (broken / "00001.jpg").write_bytes((broken / "00000.jpg").read_bytes()[:200])
    refusal(lambda: read_clip(broken, 16), broken / "00001.jpg", "frames")
    two = write_frames(tmp_path / "two", ["a_0.jpg", "b_0.jpg"])
    refusal(lambda: read_clip(two, 16), two, "frames")


def test_empty_and_missing(tmp_path):
    refusal(lambda: read_clip(tmp_path / "nowhere"), "nowhere", "path")
    (tmp_path / "empty").mkdir()
    refusal(lambda: read_clip(tmp_path / "empty"), "empty", "frames")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("nothing here")
    refusal(lambda: find_clips(tmp_path / "notes"), "notes", "clips")
    refusal(lambda: read_clip(tmp_path / "notes" / "a.txt"), "a.txt", "file")


def save_npz(path: Path, **arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_mask_files(tmp_path):
    masks = make_clip().masks
    for name, dtype in (("bool", bool), ("uint8", np.uint8), ("float32", np.float32), ("int64", np.int64)):
        assert np.array_equal(read_masks(save_npz(tmp_path / f"{name}.npz", mask=masks.astype(dtype))), masks)
    np.save(tmp_path / "one.npy", masks[:, 1])
    assert np.array_equal(read_masks(tmp_path / "one.npy"), masks[:, 1:])
    scaled = save_npz(tmp_path / "scaled.npz", mask=masks.astype(np.uint8) * 255)
    assert "0 and 255" in refusal(lambda: read_masks(scaled), scaled, "mask")
    refusal(lambda: read_masks(save_npz(tmp_path / "soft.npz", mask=masks * 0.5)), "soft.npz", "mask")
    refusal(lambda: read_masks(save_npz(tmp_path / "nan.npz", mask=np.full((1, 1, 2, 2), np.nan))), "nan.npz", "mask")
    refusal(lambda: read_masks(save_npz(tmp_path / "name.npz", masks=masks)), "name.npz", "mask")
    refusal(lambda: read_masks(save_npz(tmp_path / "flat.npz", mask=masks[0, 0])), "flat.npz", "mask")
    refusal(lambda: read_masks(save_npz(tmp_path / "none.npz", mask=masks[:0])), "none.npz", "mask")
    refusal(lambda: read_masks(tmp_path / "lost.npy"), "lost.npy", "file")
    refusal(lambda: read_masks(tmp_path / "mask.png"), "mask.png", "mask")


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_damaged_or_pickled_masks(tmp_path, suffix):
    path = tmp_path / f"mask{suffix}"
    objects = np.array([{"a": 1}], dtype=object)
    save = (lambda array: np.savez(path, mask=array)) if suffix == ".npz" else (lambda array: np.save(path, array))
    save(objects)
    assert "pickled" in refusal(lambda: read_masks(path), path, "")
    save(make_clip().masks)
    data = path.read_bytes()
    for length in (0, 40, len(data) // 2):
        path.write_bytes(data[:length])
        refusal(lambda: read_masks(path), path, "")


def test_masks_must_fit_the_frames(tmp_path):
    clip = make_clip()
    folder = write_clip(clip, tmp_path / "a", "sim")
    save_npz(folder / "mask.npz", mask=clip.masks[:-1])
    assert "4 frames" in refusal(lambda: read_clip(folder), folder / "mask.npz", "mask")
    save_npz(folder / "mask.npz", mask=clip.masks[..., :-1])
    assert "47x36" in refusal(lambda: read_clip(folder), folder / "mask.npz", "mask")
    save_npz(folder / "mask.npz", mask=clip.masks * 255)
    refusal(lambda: read_clip(folder), folder / "mask.npz", "mask")


@pytest.mark.parametrize(
    ("info", "field"),
    [
        ("{", "file"),
        ("[]", "content"),
        ('{"fps": 0}', "fps"),
        ('{"fps": "fast"}', "fps"),
        ('{"text": 3}', "text"),
        ('{"points": []}', "points"),
        ('{"points": [{"positive": []}]}', "points[0]"),
        ('{"points": [{"positive": [[1]]}]}', "points[0].positive"),
        ('{"points": [{"positive": [[1, NaN]]}]}', "points[0].positive"),
    ],
)
def test_bad_clip_info(tmp_path, info, field):
    folder = write_frames(tmp_path / "a", ["00000.jpg"])
    (folder / "clip_info.json").write_text(info)
    refusal(lambda: read_clip(folder), folder / "clip_info.json", field)


def test_dropped_index_is_the_highest_positive_point():
    entry = lambda *ys: {"positive": [[5, y] for y in ys], "negative": [[0, 0]]}  # noqa: E731
    assert dropped_index([entry(90), entry(70), entry(80)]) == 1
    assert dropped_index([entry(90, 10), entry(70)]) == 0
    refusal(lambda: dropped_index([{"positive": [["a", 1]]}]), "clip_info", "points")


@pytest.mark.parametrize(
    "member", ["/etc/a/00000.jpg", "../a/00000.jpg", "a/../../00000.jpg", "C:/a/00000.jpg", "a\\..\\00000.jpg", "link"]
)
def test_unsafe_archives(tmp_path, member):
    path = tmp_path / "real.zip"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo(member)
        if member == "link":
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, b"/etc/passwd")
    refusal(lambda: find_clips(path), path, "member")


def test_broken_archives(tmp_path):
    path = zipped(write_clip(make_clip(2), tmp_path / "a", "sim"), tmp_path / "sim.zip", "a")
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    refusal(lambda: find_clips(path), path, "archive")
    data[200:260] = bytes(60)
    path.write_bytes(data)
    refusal(lambda: read_clip(path), path, "")


def test_nothing_is_extracted(tmp_path):
    path = zipped(write_clip(make_clip(2), tmp_path / "a", "sim"), tmp_path / "sim.zip", "a")
    shutil.rmtree(tmp_path / "a")
    read_clip(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("replaces", [False, True])
def test_interrupted_write_leaves_no_half_clip(tmp_path, monkeypatch, layout, replaces):
    path = tmp_path / ("a.npz" if layout == "npz" else "a")
    old = make_clip(3)
    if replaces:
        write_clip(old, path, layout)

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    calls = iter([True, True, False])
    encode = media.encode_image
    monkeypatch.setattr(pisabench, "encode_image", lambda frame: encode(frame) if next(calls) else fail())
    monkeypatch.setattr(storage.np.lib.format, "write_array", fail)
    with pytest.raises(InputError, match="cannot be written .No space"):
        write_clip(make_clip(4), path, layout)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == ([path] if replaces else [])
    if replaces:
        assert len(read_clip(path)) == 3


def test_replacing_a_clip_leaves_only_the_new_one(tmp_path):
    write_clip(make_clip(5), tmp_path / "a", "sim")
    write_clip(make_clip(2), tmp_path / "a", "psft")
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["rgba_00000.jpg", "rgba_00001.jpg"]
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_write_refuses(tmp_path):
    clip = make_clip(2)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "IMG_0001.jpg").write_bytes(b"mine")
    refusal(lambda: write_clip(clip, tmp_path / "photos", "sim"), "photos", "output")
    refusal(lambda: write_clip(clip, tmp_path / "photos" / "IMG_0001.jpg", "sim"), "IMG_0001", "output")
    assert (tmp_path / "photos" / "IMG_0001.jpg").read_bytes() == b"mine"
    refusal(lambda: write_clip(clip, tmp_path / "a", "video"), "a", "layout")
    refusal(lambda: write_clip(clip, tmp_path / "a", "npz"), "a", "path")
    refusal(lambda: write_clip(replace(clip, masks=None), tmp_path / "a", "sim"), "seen/00", "masks")
    refusal(lambda: write_clip(replace(clip, info={}), tmp_path / "a", "real"), "seen/00", "points")
    refusal(lambda: write_clip(replace(clip, info={"a": np.ones(2)}), tmp_path / "a.npz"), "a.npz", "info")
    refusal(lambda: write_clip(replace(clip, info={"a": float("nan")}), tmp_path / "b", "sim"), "b", "info")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["photos"]


def test_foreign_or_tampered_npz(tmp_path):
    refusal(lambda: read_clip(save_npz(tmp_path / "a.npz", x=np.ones(3))), "a.npz", "facts")
    path = write_clip(make_clip(2), tmp_path / "b.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    for change, field in (
        ({"mask_shape": np.array([9, 9, 9, 9])}, "mask_shape"),
        ({"mask_shape": np.array([-1, 2, 36, 48])}, "mask_shape"),
        ({"facts": np.frombuffer(b'{"format": "other"}', np.uint8)}, "format"),
        ({"facts": np.frombuffer(b'{"format": "pisa_kit clip 1"}', np.uint8)}, "facts"),
        ({"facts": np.frombuffer(b"\xff", np.uint8)}, "facts"),
        ({"frames": arrays["frames"][0]}, "frames"),
        ({"depth": arrays["depth"][:1]}, "depth"),
    ):
        refusal(lambda change=change: read_clip(save_npz(path, **{**arrays, **change})), path, field)


def test_to_square_squeezes_or_crops():
    clip = make_clip()
    squeezed = to_square(clip, 24)
    assert squeezed.frames.shape == (5, 24, 24, 3) and squeezed.masks.shape == (5, 2, 24, 24)
    assert squeezed.info["points"][0]["positive"] == [[10.0, 20.0]] and squeezed.camera is None
    assert squeezed.masks.mean() == pytest.approx(clip.masks.mean(), rel=0.1)
    assert np.abs(squeezed.frames.mean((1, 2)) - clip.frames.mean((1, 2))).max() < 2
    cropped = to_square(clip, 18, crop=True)
    assert np.array_equal(cropped.masks, clip.masks[:, :, 1:36:2, 7:42:2])
    assert cropped.info["points"][0]["positive"] == [[7.0, 15.0]]
    assert cropped.camera == Camera(30.0, 0.5, (9.0, 9.0))
    assert np.array_equal(cropped.flow, clip.flow[:, 1:36:2, 7:42:2] / 2)
    refusal(lambda: to_square(clip, 0), "seen/00", "size")
    edge = replace(clip, info={"points": [{"positive": [[1, 1]], "negative": []}]})
    refusal(lambda: to_square(edge, 18, crop=True), "seen/00", "points")


def make_movie(path: Path) -> Path:
    frames = np.zeros((10, 32, 64, 3), np.uint8)
    frames[:, 4:8, 50:56] = 255
    write_mp4(path, frames, 30)
    return path


def test_import_video_turns_and_cuts(tmp_path):
    movie = make_movie(tmp_path / "phone.mp4")
    clip = import_video(movie, tmp_path / "clip", 120, (26, 52), rotate=90, start=2, end=8, caption="A box falls.")
    assert clip.frames.shape == (6, 64, 32, 3) and clip.frames[0, 52, 26].min() > 200
    read = read_clip(tmp_path / "clip")
    assert read.fps == 120 and read.caption == "A box falls." and len(read) == 6
    assert read.info["points"] == [{"positive": [[26, 52]], "negative": []}]
    assert read.info["source"] == {"file": "phone.mp4", "start": 2, "end": 8, "rotate": 90}
    left = import_video(movie, None, 120, (5, 11), rotate=270)
    assert left.frames[0, 11, 5].min() > 200
    small = import_video(movie, None, 120, (26, 52), rotate=90, crop=(16, 48, 16, 16), size=8)
    assert small.frames.shape == (10, 8, 8, 3) and small.info["points"][0]["positive"] == [[5.0, 2.0]]


def test_import_video_refuses(tmp_path):
    movie = make_movie(tmp_path / "phone.mp4")

    def attempt(**changes):
        return lambda: import_video(
            **{"path": movie, "out": tmp_path / "clip", "fps": 120, "point": (1, 1), "rotate": 90, **changes}
        )

    for changes, field in (
        ({"start": 5, "end": 5}, "start"),
        ({"start": -1}, "start"),
        ({"end": 11}, "end"),
        ({"start": 10}, "start"),
        ({"rotate": 45}, "rotate"),
        ({"fps": 0}, "fps"),
        ({"point": (32, 1)}, "point"),
        ({"point": (1, -1)}, "point"),
        ({"crop": (0, 0, 33, 10)}, "crop"),
        ({"crop": (2, 2, 10, 10)}, "point"),
    ):
        refusal(attempt(**changes), movie, field)
    refusal(attempt(path=tmp_path / "gone.mp4", rotate=None), "gone.mp4", "")
    assert [file.name for file in tmp_path.iterdir()] == ["phone.mp4"]


def test_import_footage_follows_its_rotation_tag():
    clip = import_video(FOOTAGE, None, 120, (28, 74), start=118, end=120)
    assert clip.frames.shape == (2, 1716, 172, 3) and clip.info["source"]["rotate"] == 90


def test_masks_from_an_open_file():
    stream = io.BytesIO()
    np.savez(stream, mask=np.ones((1, 1, 2, 2), bool))
    assert read_masks(NamedBytes(stream.getvalue(), "in.zip/mask.npz")).all()
    refusal(lambda: read_masks(NamedBytes(stream.getvalue()[:50], "in.zip/mask.npz")), "in.zip/mask.npz", "")
