"""Click to track: six kinds of phone footage, corrections by clicks, saved clips, and the browser's part."""

from pathlib import Path

import numpy as np
import pytest
from browser import needs_browser, open_page, unreachable
from footage_kinds import HELD, KINDS, film, measure

from pisa_kit.clips.formats import read_clip
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import DATA
from pisa_kit.metrics.gravity import fit_scaled
from pisa_kit.viz import tracker
from pisa_kit.viz.player import page
from pisa_kit.viz.widgets import track_footage

TRAITS = ("frames", "size", "fps", "points", "ends", "metres", "release", "tilted", "order", "found", "message")
TRACKER = "document.querySelector('.pisa-tracker').pisaTracker"


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(tracker, "DRAWS", 30)


@pytest.mark.parametrize("kind", KINDS)
def test_gravity_from_every_kind_of_footage(kind, tmp_path):
    widget, spent = measure(film(kind), tmp_path)
    low, high = widget.fall.gravity_interval
    assert widget.fall.gravity == pytest.approx(9.81, rel=0.05) and low <= 9.81 <= high and high - low < 2
    assert len(widget.found["lost"]) <= 2 and spent < 0.1
    assert max(widget.size) <= 400 and "g" in widget.found


def test_the_phone_clip():
    ends = [(27, 75), (36, 1640)]
    cut = {"rotate": 90, "start": 112, "end": 216, "longest": 480}
    widget = track_footage(DATA / "balldrop_120fps.mp4", 120, {0: (27, 75)}, ends, 2.28, 6, tilted=True, **cut)
    assert widget.size == [48, 480] and widget.found["lost"] == []
    assert widget.fall.gravity == pytest.approx(9.81, rel=0.1)
    assert widget._repr_mimebundle_()[0]["image/png"]


def test_a_fall_is_measured_wherever_the_release_was_marked():
    def fall(fps, before, tilt=0.0):
        t = np.arange(-before / fps, 0.6, 1 / fps)
        fallen = np.minimum(np.clip(t, 0, None) ** 2 * 9.81 / 2, 1.2)
        rows = (40 + 180 * np.append(fallen, [0, 1.2])) / (1 + tilt * np.append(fallen, [0, 1.2]))
        return rows[:-2] + 0.3 * np.random.default_rng(0).standard_normal(len(t)), [(50, rows[-2]), (50, rows[-1])]

    for fps, before in [(30, -1), (30, 1), (60, 4), (240, 0), (240, 12), (240, -8)]:
        y, ends = fall(fps, before)
        found = fit_scaled(y, fps, ends, 1.2, draws=5)
        assert found.gravity == pytest.approx(9.81, rel=0.03)
        assert found.frames <= before + 1 + fps * (2 * 1.2 / 9.81) ** 0.5, "it lies still there"
    y, ends = fall(120, 3, tilt=0.08)
    assert fit_scaled(y, 120, ends, 1.2, draws=5).gravity < 9.5, "a level camera is the wrong model"
    assert fit_scaled(y, 120, ends, 1.2, True, draws=5).gravity == pytest.approx(9.81, rel=0.02)
    for wrong in ([(50, 40), (52, 41)], [(50, 40), (50, 40)]):
        with pytest.raises(InputError, match="scale: ends"):
            fit_scaled(y, 120, wrong, 1.2)
    with pytest.raises(InputError, match="track: y"):
        fit_scaled(np.full(30, 5.0), 120, ends, 1.2)


@pytest.fixture(scope="module")
def shot():
    return film("dark ball")


def test_a_click_corrects_a_lost_frame_and_the_clip_is_saved(shot, tmp_path):
    frames = np.delete(shot.frames, np.s_[18:28], 0)  # it jumps
    widget = track_footage(frames, 60, {0: shot.point}, shot.ends)
    lost, y = widget.found["lost"], np.array(widget.found["y"], float)
    assert 18 in lost and f"found in {len(frames) - len(lost)} of {len(frames)}" in widget.message
    fallen = 9.81 / 2 * ((28 - HELD) / 60) ** 2 * np.hypot(*(shot.ends[1] - shot.ends[0]))
    widget.points = [*widget.points, [18, shot.point[0], y[0] + fallen]]
    widget.order = {"do": "track", "at": 1}
    assert not widget.found["lost"] and widget.found["y"][18] == pytest.approx(y[0] + fallen, abs=4)
    widget.release = HELD
    widget.order = {"do": "save", "to": str(tmp_path / "mine"), "at": 2}
    clip = read_clip(tmp_path / "mine")
    assert clip.fps == 60 and len(clip) == len(frames) - HELD and clip.masks[0].any()
    assert clip.info["source"]["release"] == HELD and widget.message.startswith("saved in")


def test_what_goes_wrong_is_said_in_the_widget(shot):
    frames = shot.frames
    widget = track_footage(frames, 60)
    assert widget.track is None and not widget.found and widget._repr_mimebundle_()[0]["image/png"]
    widget.order = {"do": "save", "to": "nowhere"}
    assert "Track first" in widget.message
    widget.order = {"do": "track"}
    assert "Name the object" in widget.message
    widget.points = [[0, *shot.point]]
    widget.order = {"do": "track", "at": 1}
    assert "mark the two ends" in widget.message and "g" not in widget.found
    widget.ends, widget.metres = [[0, 0], [0, 1]], 1.0
    assert "Click two points farther apart" in widget.message
    assert widget.track is not None
    widget.points = []
    assert widget.track is None and not widget.found, "what is cleared is not saved"
    with pytest.raises(InputError, match="fps"):
        track_footage(frames)
    for name, value in {"release": len(frames), "rotate": 90, "start": 2, "end": 9}.items():
        with pytest.raises(InputError, match=f"track_footage: {name}: is {value}"):
            track_footage(frames, 60, **{name: value})


@needs_browser
def test_clicks_and_keys_mark_the_object_the_scale_and_the_release(shot, tmp_path):
    widget = track_footage(shot.frames, 60)
    file = tmp_path / "tracker.html"
    script = Path(tracker.__file__).with_suffix(".js")
    file.write_text(page({name: getattr(widget, name) for name in TRAITS}, "tracker", script), encoding="utf-8")
    with open_page(file) as tab:
        box = tab.locator(".pisa-tracker canvas").first.bounding_box()
        k = box["width"] / widget.size[0]
        tab.mouse.click(box["x"] + shot.point[0] * k, box["y"] + shot.point[1] * k)
        tab.select_option(".pisa-tracker select", "scale")
        for x, y in shot.ends:
            tab.mouse.click(box["x"] + x * k, box["y"] + y * k)
        for _ in range(shot.release):
            tab.get_by_role("button", name="one frame on").click()
        tab.get_by_role("button", name="let go in this frame").click()
        marks = {name: tab.evaluate(f"{TRACKER}.get('{name}')") for name in ("points", "ends", "release")}
        tab.select_option(".pisa-tracker select", "object")
        tab.focus(".pisa-tracker canvas")
        for key in ("ArrowRight", "ArrowRight", "Shift+ArrowUp", "Enter"):
            tab.keyboard.press(key)
        assert tab.evaluate(f"{TRACKER}.get('points')")[1] == [shot.release, 122, 110]
        tab.get_by_role("button", name="track the object").click()
        assert tab.evaluate(f"{TRACKER}.get('order').do") == "track"
        assert unreachable(tab, ".pisa-tracker") == []
    assert marks["release"] == shot.release
    widget.set_state(marks)  # as the browser sends them
    widget.set_state({"order": {"do": "track", "at": 3}})
    assert widget.fall.gravity == pytest.approx(9.81, rel=0.08)
