"""The trajectory inspector: what is sent to the browser, and what the browser does with it."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from browser import needs_browser, open_page, unreachable
from PIL import Image

from pisa_kit.core.errors import InputError
from pisa_kit.sim.probes import Cell
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.viz.player import METRICS, clip_view, page
from pisa_kit.viz.widgets import cell_browser, inspect

PLAYER = "document.querySelector('.pisa-player')"


def drops(count: int, size: int, frames: int) -> tuple[list, dict[str, list]]:
    """Truths and four methods, one of which loses the object in frames 5 to 7."""
    truths = [simulate(sample(seed), size, frames, 16) for seed in range(count)]
    slow = [simulate(replace(sample(seed), gravity=4.0), size, frames, 16) for seed in range(count)]
    lost = []
    for truth in truths:
        masks = truth.masks.copy()
        masks[5:8] = False
        lost.append(replace(truth, masks=masks))
    half = [truth.select(np.arange(0, frames, 2), 8) for truth in truths]
    return truths, {"slow gravity": slow, "vanish": lost, "half the frames": half, "ideal": truths}


@pytest.fixture(scope="module")
def small():
    return drops(3, 64, 17)


@pytest.fixture(scope="module")
def shown(small, tmp_path_factory):
    """A page without a kernel."""
    widget = inspect(*small)
    file = tmp_path_factory.mktemp("player") / "player.html"
    file.write_text(page({"views": widget.views, "metrics": widget.metrics}, "<inspector>"), encoding="utf-8")
    return file


def test_tracks_hold_what_was_measured(small):
    truths, methods = small
    view = clip_view(truths[1], {name: clips[1] for name, clips in methods.items()})
    true, slow, lost, half, ideal = view["tracks"]
    assert [track["name"] for track in view["tracks"]] == ["truth", *methods]
    assert true["landing"] == pytest.approx(truths[1].contacts[0], abs=0.01) and true["g"] == pytest.approx(
        9.8, abs=0.3
    )
    assert slow["g"] == pytest.approx(4.0, abs=0.2) and slow["numbers"]["fall_time_error"] > 0.1
    assert lost["y"][5:8] == [None] * 3 and lost["paired"]["iou"][5:8] == [0.0] * 3 and lost["y"][4] is not None
    assert half["count"] == 9 and half["fps"] == 8 and half["paired"]["time"][1] == 0.125
    assert ideal["numbers"]["iou"] == 1
    start, end = true["ideal"][0], true["ideal"][-1]
    assert start[2] == pytest.approx(true["y"][0], abs=0.01) and end[0] == pytest.approx(
        truths[1].contacts[0], abs=1e-4
    )


def test_frames_arrive_as_they_are(small):
    truths, methods = small
    track = clip_view(truths[0], {"slow gravity": methods["slow gravity"][0]})["tracks"][0]
    sheet = np.asarray(Image.open(io.BytesIO(track["frames"])))
    for frame in (0, 7, 16):
        row, column = divmod(frame, track["columns"])
        tile = sheet[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
        np.testing.assert_array_equal(tile, truths[0].frames[frame])


def test_one_clip_in_one_line_and_wrong_counts(small):
    truths, methods = small
    assert len(inspect(truths[0], methods["slow gravity"][0]).views) == 1
    with pytest.raises(InputError, match="predictions: is {}"):
        inspect(truths, {})
    with pytest.raises(InputError, match="PSFT: has 2 clips for 3 truths"):
        inspect(truths, {"PSFT": truths[:2]})
    with pytest.raises(InputError, match=r"masks.*is missing"):
        inspect(truths[0], replace(truths[0], masks=None))


def test_viewers_without_widgets_get_a_picture(small):
    truths, methods = small
    data = inspect(truths[0], methods["vanish"][0])._repr_mimebundle_()
    data = data[0] if isinstance(data, tuple) else data
    assert (
        base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
        and "application/vnd.jupyter.widget-view+json" in data
    )


def test_captions_cannot_leave_their_place(small):
    truths, methods = small
    evil = replace(truths[0], caption="</script><script>alert(1)</script>")
    html = page({"views": [clip_view(evil, {"a": methods["ideal"][0]})], "metrics": METRICS}, "t")
    assert html.count("</script>") == 1


@needs_browser
def test_a_click_on_a_curve_goes_to_that_frame(shown):
    with open_page(shown) as tab:
        chart = tab.locator(".charts canvas").first.bounding_box()
        for frame in (0, 3, 9, 16):
            along = 36 + (chart["width"] - 46) * frame / 16
            tab.mouse.click(chart["x"] + along, chart["y"] + 60)
            assert f"frame {frame} of 16" in tab.inner_text(".readout")


@needs_browser
def test_keys_sorting_hiding_and_losses(shown, small):
    with open_page(shown) as tab:
        tab.evaluate(f"{PLAYER}.pisaPlayer.seek(0)")
        tab.focus(".pisa-player")
        for key, frame in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 16), ("Home", 0)):
            tab.keyboard.press(key)
            assert f"frame {frame} of 16" in tab.inner_text(".readout")
        tab.evaluate(f"{PLAYER}.pisaPlayer.seek(6 / 16)")
        notes = dict(
            zip(tab.locator("figcaption").all_inner_texts(), tab.locator("figure .note").all_inner_texts(), strict=True)
        )
        assert notes["vanish"] == "object not found" and notes["ideal"] == ""
        tab.select_option(".order select", "fixed_l2")
        order = [int(button.get_attribute("data-clip")) for button in tab.locator(".shelf button").all()]
        widget = inspect(*small)
        worst = [max(track["numbers"]["fixed_l2"] for track in view["tracks"][1:]) for view in widget.views]
        assert order == sorted(range(3), key=lambda index: -worst[index])
        tab.click(f".shelf button[data-clip='{order[-1]}']")
        tab.wait_for_selector(f".pisa-player[data-clip='{order[-1]}']")
        before = tab.locator("figure").count()
        tab.locator(".legend input").nth(1).focus()
        tab.keyboard.press("Space")
        assert tab.locator("figure").count() == before - 1 and not tab.evaluate(f"{PLAYER}.pisaPlayer.state.playing")
        tab.keyboard.press("Space")
        tab.locator(".legend input").nth(2).uncheck()
        assert tab.locator("figure").count() == before - 1
        order = [int(button.get_attribute("data-clip")) for button in tab.locator(".shelf button").all()]
        seen = [[track for number, track in enumerate(view["tracks"]) if number not in (0, 2)] for view in widget.views]
        worst = [max(track["numbers"]["fixed_l2"] for track in tracks) for tracks in seen]
        assert order == sorted(range(3), key=lambda index: -worst[index]), "what is hidden does not sort"
        table = tab.evaluate(f"{PLAYER}.pisaPlayer.table()").splitlines()
        assert table[0] == "method,frame,time_s,x_px,y_px,speed_px_s" and len(table) == 1 + 17 * 4 + 9
        assert unreachable(tab, ".pisa-player") == []


@needs_browser
def test_a_click_on_a_cell_of_the_map_shows_its_clips(small, tmp_path):
    truths, methods = small
    near, far = Cell((2.0, 3.0), (0.5, 1.0), True), Cell((3.0, 4.0), (1.0, 2.0), False)
    widget = cell_browser(
        [*truths, truths[2]], [near, far, far, far], {"slow": [*methods["slow gravity"]] * 2, "truth": [*truths] * 2}, 2
    )
    assert [view["cell"]["inside"] for view in widget.views] == [True, False, False]
    file = tmp_path / "map.html"
    file.write_text(page({"views": widget.views, "metrics": widget.metrics}, "map"), encoding="utf-8")
    with open_page(file) as tab:
        tab.select_option("select[aria-label='metric of the map']", "iou")
        cell = tab.get_by_role("button", name="3 to 4 m away, 1 to 2 m high, outside the training range")
        mean = np.mean([view["tracks"][1]["numbers"]["iou"] for view in widget.views[1:]])
        assert cell.inner_text() == f"{mean:.3f}" and tab.locator(".map button").count() == 2
        assert unreachable(tab, ".pisa-player") == []
        cell.press("Enter")
        tab.wait_for_selector(".pisa-player[data-clip='1']")
        assert [one.get_attribute("data-clip") for one in tab.locator(".shelf button").all()] == ["1", "2"]
        tab.locator(".legend input").nth(2).uncheck()
        assert tab.locator("figcaption").all_inner_texts() == ["truth", "slow", "all tracks"]
        tab.locator(".map button[aria-pressed=true]").click()
        tab.wait_for_selector(".pisa-player[data-clip='0']")
        assert tab.locator(".shelf button").count() == 3


@needs_browser
@pytest.mark.parametrize("size, frames, least", [(64, 17, 30), (256, 33, 24)])
def test_it_plays_fast_and_switches_clips_at_once(tmp_path, size, frames, least):
    truths, methods = drops(2, size, frames)
    methods = methods if size == 64 else {"slow gravity": methods["slow gravity"]}
    widget = inspect(truths, methods)
    file = tmp_path / "player.html"
    file.write_text(page({"views": widget.views, "metrics": widget.metrics}, "speed"), encoding="utf-8")
    with open_page(file) as tab:
        rate = tab.evaluate(
            f"""async () => {{
                const el = {PLAYER}, wait = (ms) => new Promise((done) => setTimeout(done, ms)), rates = [];
                el.pisaPlayer.setPlaying(true);
                await wait(1500);
                for (let k = 0; k < 3; k++) {{
                    const [before, start] = [+el.dataset.drawn, performance.now()];
                    await wait(1000);
                    rates.push((+el.dataset.drawn - before) / (performance.now() - start) * 1000);
                }}
                el.pisaPlayer.setPlaying(false);
                return Math.max(...rates);
            }}"""
        )
        assert rate >= least
        switch = (
            "async () => { const t = performance.now(); await %s.pisaPlayer.choose(%d); return performance.now() - t; }"
        )
        assert tab.evaluate(switch % (PLAYER, 1)) <= 300, "the next clip was decoded while the first one played"
