"""Scoring files and clips: bad input is named, everything is counted, output is whole or absent."""

import json

import numpy as np
import pandas as pd
import pytest

from pisa_kit.clips.clip import Clip
from pisa_kit.core.errors import InputError
from pisa_kit.metrics.scoring import METRICS, Report, evaluate, score_file, score_pair

SIZE = 32


def falling(step, frames=5, size=SIZE, objects=1):
    """(T, N, H, W) bool: a square that falls `step` px per frame; objects before the last stand still."""
    masks = np.zeros((frames, objects, size, size), bool)
    masks[:, :-1, 20:, 24:] = True
    for index in range(frames):
        masks[index, -1, 2 + step * index : 8 + step * index, 4:10] = True
    return masks


def write(path, masks):
    np.savez_compressed(path, mask=masks)
    return path.name


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "truth.npz", falling(3))
    write(tmp_path / "prediction.npz", falling(1))
    return tmp_path


def line(**changes):
    entry = {"gt_mask": "truth.npz", "gt_fps": 16, "pd_mask": "prediction.npz", "pd_fps": 16} | changes
    return json.dumps({key: value for key, value in entry.items() if value is not ...})


def score(folder, *lines, **options):
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return score_file(folder / "pairs.jsonl", **options)


def clip(masks, fps=16.0, name="clip"):
    frames = np.zeros((len(masks), *masks.shape[2:], 3), np.uint8)
    return Clip(frames=frames, fps=fps, masks=masks, name=name)


# --- what is scored ----------------------------------------------------------------------------------------------


def test_a_row_has_both_kinds_of_metrics():
    row = score_pair("a", falling(3)[:, 0], 16, falling(1)[:, 0], 16)
    assert list(row) == ["name", *METRICS, "frames_compared", "frames_expected"]
    assert row["fixed_l2"] == pytest.approx(2 * 2 / SIZE)  # 0, 2, 4, 6, 8 px, all downwards
    assert row["l2"] == pytest.approx(2 * 2 / SIZE / 2 / np.sqrt(2))


def test_the_last_plane_is_the_dropped_object_without_annotation(folder):
    write(folder / "many.npz", falling(3, objects=3))
    report = score(folder, line(gt_mask="many.npz", pd_mask="truth.npz"))
    assert report.table["iou"].tolist() == [1.0]


def test_the_annotated_object_with_the_highest_point_is_the_dropped_one(folder):
    masks = falling(3, objects=2)[:, ::-1]
    write(folder / "real.npz", masks)
    points = [{"positive": [[6, 4]], "negative": []}, {"positive": [[28, 25]], "negative": []}]
    (folder / "clip_info.json").write_text(json.dumps({"points": points}))
    annotated = {"gt_mask": "real.npz", "gt_annotation": "clip_info.json"}
    report = score(folder, line(**annotated, pd_mask="real.npz"), line(**annotated, pd_mask="truth.npz"))
    assert report.table["fixed_iou"].tolist() == [1.0, 1.0]
    assert report.table["fixed_l2"].tolist() == [0.0, 0.0]


def test_absolute_paths_and_names_are_accepted(folder):
    nested = folder / "sim" / "00"
    nested.mkdir(parents=True)
    write(nested / "mask.npz", falling(3))
    absolute = line(gt_mask=str(folder / "truth.npz"), name="mug")
    report = score(folder, absolute, "", line(gt_mask="sim/00/mask.npz"))
    assert report.table["name"].tolist() == ["mug", "sim/00"]


def test_order_and_numbers_do_not_depend_on_the_number_of_processes(folder):
    lines = [line(name=str(index), pd_fps=8 + index) for index in range(6)] + ["{"]
    one, two = score(folder, *lines), score(folder, *lines, workers=2)
    pd.testing.assert_frame_equal(one.table, two.table)
    assert one.failures == two.failures and two.table["name"].tolist() == list("012345")


def test_the_output_holds_a_line_per_pair_in_order(folder):
    write(folder / "empty.npz", falling(1) & False)
    score(folder, line(), "{", line(pd_mask="empty.npz"), out=folder / "out" / "scores.jsonl")
    rows = [json.loads(text) for text in (folder / "out" / "scores.jsonl").read_text().splitlines()]
    assert rows[0]["name"] == "truth" and rows[0]["l2"] > 0
    assert set(rows[1]) == {"name", "error"} and rows[1]["name"] == "pairs.jsonl line 2"
    assert rows[2]["l2"] is None and rows[2]["fixed_l2"] == 1


def test_scoring_stops_without_output_when_it_crashes(folder, monkeypatch):
    def crash(*_):
        raise RuntimeError

    monkeypatch.setattr("pisa_kit.metrics.scoring._score_lines", crash)
    before = sorted(folder.iterdir())
    with pytest.raises(RuntimeError):
        score(folder, line(), out=folder / "scores.jsonl")
    assert sorted(folder.iterdir()) == sorted([*before, folder / "pairs.jsonl"])


def test_clips_are_scored_by_their_dropped_object():
    truths = [clip(falling(3, objects=2), name="a"), clip(falling(3), name="b"), clip(falling(3), name="c")]
    predictions = [clip(falling(3)), clip(falling(1, size=16)), clip(falling(1))]
    report = evaluate(truths, predictions)
    assert report.table["name"].tolist() == ["a", "c"] and report.table["iou"][0] == 1
    assert [name for name, _ in report.failures] == ["b"] and "nearest neighbour" in report.failures[0][1]
    assert report.lines()[0] == "scored 2 of 3"


def test_clips_without_masks_are_failures():
    blank = Clip(frames=np.zeros((5, SIZE, SIZE, 3), np.uint8), fps=16, name="blank")
    report = evaluate([clip(falling(3), name="a")], [blank])
    assert report.scored == 0 and "blank: masks: is missing" in report.failures[0][1]


def test_evaluate_refuses_lists_of_different_length():
    with pytest.raises(InputError, match="predictions: has 0 clips for 1 truths"):
        evaluate([clip(falling(3))], [])


# --- bad input: a named failure, the other pairs go on -----------------------------------------------------------


def truncated(path):
    write(path, np.random.default_rng(0).random((5, 1, SIZE, SIZE)) < 0.5)
    path.write_bytes(path.read_bytes()[:-200])


def corrupt(path):
    write(path, np.random.default_rng(0).random((5, 1, SIZE, SIZE)) < 0.5)
    data = bytearray(path.read_bytes())
    data[150:250] = bytes(100)
    path.write_bytes(data)


def pickled(path):
    np.savez(path, mask=np.array([{"a": 1}], dtype=object))


FILES = {
    "truncated": (truncated, ("bad.npz", "array data", "truncated or corrupt", "Write it again")),
    "corrupt": (corrupt, ("bad.npz", "array data", "truncated or corrupt", "Write it again")),
    "pickled": (pickled, ("bad.npz", "array data", "pickled objects", "Write it again")),
    "0 and 255": (lambda path: write(path, falling(1) * np.uint8(255)), ("bad.npz", "mask", "255", "divide by 255")),
    "other shape": (lambda path: write(path, falling(1)[0, 0]), ("bad.npz", "mask", "has shape (32, 32)", "Give")),
    "other size": (lambda path: write(path, falling(1, size=20)), ("bad.npz", "mask", "20 px", "nearest neighbour")),
    "not square": (lambda path: write(path, falling(1)[..., :20]), ("bad.npz", "mask", "20 x 32", "1:1")),
    "no frames": (lambda path: write(path, falling(1)[:0]), ("bad.npz", "mask", "(0, 1, 32, 32)", "Give")),
    "other name": (lambda path: np.savez(path, masks=falling(1)), ("bad.npz", "mask", "not in the file", "Write")),
    "missing": (lambda path: None, ("bad.npz", "file", "does not exist", "Check the path")),
    "folder": (lambda path: path.mkdir(), ("bad.npz", "is a folder")),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("key", ["gt_mask", "pd_mask"])
def test_a_bad_mask_file_is_a_named_failure(folder, case, key):
    spoil, words = FILES[case]
    spoil(folder / "bad.npz")
    if case == "other size" and key == "gt_mask":
        words = ("prediction.npz", "mask", "20 px", "nearest neighbour")
    assert_only_second_fails(score(folder, line(), line(**{key: "bad.npz"}), line()), words)


def assert_only_second_fails(report, words):
    assert (report.scored, report.total) == (2, 3)
    ((name, reason),) = report.failures
    assert all(word in reason for word in words), reason
    lines = report.lines()
    assert lines[0] == "scored 2 of 3" and lines[-1] == f"failed: {name}: {reason}"


FRAME_RATES = [0, -16, float("nan"), float("inf"), "16", None, True]
LINES = [
    (line(**{key: rate}), (key, "fps", repr(rate), "e.g. 16")) for key in ("gt_fps", "pd_fps") for rate in FRAME_RATES
]
LINES += [(line(**{key: ...}), (key, "is missing", "Each line needs")) for key in json.loads(line())]
LINES += [
    ('{"gt_mask": "truth.npz",', ("line", "is not JSON", "one JSON object per line")),
    (line(gt_fps=1e300), ("gt_fps", "fps", "is 1e+300", "less than or equal to 100000")),
    (line().replace("16", "9" * 5000), ("gt_fps", "fps", "is inf", "finite")),
    ("[" * 100_000, ("line", "is not JSON", "one JSON object per line")),
    ("[1, 2]", ("[1.0, 2.0]", "valid dictionary", "Each line needs")),
    (line(gt_mask=3), ("gt_mask", "is 3", "as text")),
    (line(gt_annotation="none.json"), ("none.json", "file", "does not exist", "Check the path")),
]


@pytest.mark.parametrize(("text", "words"), LINES, ids=[text[:80] for text, _ in LINES])
def test_a_bad_line_is_a_named_failure(folder, text, words):
    report = score(folder, line(), text, line())
    in_line = () if words[0].endswith((".json", ".npz")) else ("pairs.jsonl line 2",)
    assert_only_second_fails(report, (*words, *in_line))


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"text": "A mug falls."}, ("info.json", "points", "is missing", "clip_info.json")),
        ([], ("info.json", "valid dictionary", "clip_info.json")),
        ({"points": []}, ("info.json", "points", "[]", "positive")),
        ({"points": [{"negative": []}]}, ("info.json", "points[0].positive", "is missing", "Give one")),
        ({"points": [{"positive": [[1, 2]]}] * 3}, ("many.npz", "mask", "has 2 objects, the annotation 3", "plane")),
    ],
)
def test_a_bad_annotation_is_a_named_failure(folder, annotation, words):
    write(folder / "many.npz", falling(3, objects=2))
    (folder / "info.json").write_text(json.dumps(annotation))
    report = score(folder, line(), line(gt_mask="many.npz", gt_annotation="info.json"), line())
    assert_only_second_fails(report, words)


# --- bad input: nothing to score ---------------------------------------------------------------------------------


def test_a_missing_or_empty_list_of_pairs_is_refused(tmp_path):
    with pytest.raises(InputError, match="none.jsonl: file: does not exist"):
        score_file(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="pairs.jsonl: file: lists no pairs"):
        score(tmp_path, "", "  ")
    (tmp_path / "pairs.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="pairs.jsonl: file: cannot be read"):
        score_file(tmp_path / "pairs.jsonl")


def test_an_unwritable_output_is_refused_before_anything_is_scored(folder, monkeypatch):
    monkeypatch.setattr("pisa_kit.metrics.scoring._score_lines", lambda *_: pytest.fail("scored first"))
    (folder / "file").write_text("")
    with pytest.raises(InputError, match="scores.jsonl: output: cannot be written .* Choose a folder"):
        score(folder, line(), out=folder / "file" / "scores.jsonl")


def test_nothing_scored_is_said_and_not_averaged(folder):
    report = score(folder, "{", line(gt_fps=0))
    assert report.lines()[:2] == ["scored 0 of 2", "  nothing could be scored, so there are no means"]
    assert len(report.lines()) == 4


def test_lines_show_a_mean_per_metric():
    lines = Report.from_rows([score_pair("a", falling(3)[:, 0], 16, falling(1)[:, 0], 16)]).lines()
    assert len(lines) == 1 + len(METRICS)
    assert lines[1] == f"  {'l2':<24}0.0442 [0.0442, 0.0442]  n = 1"
