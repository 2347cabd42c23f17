"""An executed study as pages: inspectors play on, other widgets leave their pictures, and all of it is light."""

import base64
import io
from dataclasses import replace

import ipywidgets
import nbformat
import numpy as np
import pytest
from browser import needs_browser, open_page
from ipywidgets.embed import embed_data
from PIL import Image
from typer.testing import CliRunner

from pisa_kit.cli import app
from pisa_kit.core.errors import InputError
from pisa_kit.sim.probes import Cell
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.viz.site import STATE, VIEW, write_site
from pisa_kit.viz.widgets import cell_browser, track_footage


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with one notebook: a map with its inspector, click to track, a widget's picture and a figure."""
    truth = simulate(sample(1))
    cells = [Cell((2.0, 3.5), (0.5, 1.25), True), Cell((3.5, 5.0), (0.5, 1.25), False)]
    slow = simulate(replace(sample(1), gravity=4.0))
    player = cell_browser([truth, truth], cells, {"slow": [slow, slow]})
    tracker = track_footage(truth.frames, 16)
    buffer = io.BytesIO()
    Image.fromarray(truth.frames[0]).save(buffer, "png")
    shown = ipywidgets.Image(value=buffer.getvalue(), format="png")
    png = base64.b64encode(buffer.getvalue()).decode()
    cell = nbformat.v4.new_code_cell("1")
    undrawn = ipywidgets.Image(format="png")  # of a training that was there already
    for widget in (player, tracker, shown, undrawn):
        data = {VIEW: {"model_id": widget.model_id, "version_major": 2, "version_minor": 0}}
        data |= {"image/png": png} if widget is tracker else {}
        cell.outputs.append(nbformat.v4.new_output("display_data", data))
    cell.outputs.append(nbformat.v4.new_output("display_data", {"image/png": png}))
    cell.outputs.append(nbformat.v4.new_output("stream", text=str(tmp_path_factory.getbasetemp())))
    state = embed_data(views=[player, tracker, shown, undrawn], drop_defaults=False)["manager_state"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# How?"), cell])
    notebook.metadata["widgets"] = {STATE: state}
    folder = tmp_path_factory.getbasetemp() / "mini"
    (folder / "notebooks").mkdir(parents=True)
    nbformat.write(notebook, folder / "notebooks" / "00_how.ipynb")
    return folder, player


def test_pages_are_written_and_weighed(run, tmp_path):
    folder, _ = run
    done = CliRunner().invoke(app, ["pages", str(folder), str(tmp_path / "docs")])
    assert done.exit_code == 0 and "MB  00_how.html" in done.output, done.output
    assert "How?" in (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")
    html = (tmp_path / "docs" / "00_how.html").read_text(encoding="utf-8")
    assert str(folder.parent) not in html
    assert html.count('data-player="waiting"') == 1 and html.count("data:image/webp;base64,") == 2
    assert (
        html.count("<img") == 3
        and html.count('src="data:image/png') == 1
        and "application/vnd.jupyter.widget" not in html
    )
    assert all('alt=""' not in tag for tag in html.split("<img")[1:])
    heavy = CliRunner().invoke(app, ["pages", str(folder), str(tmp_path / "docs"), "--most", "0.1"])
    assert heavy.exit_code == 1 and "more than 0.1 MB" in heavy.output
    with pytest.raises(InputError, match="notebooks: are not there"):
        write_site(tmp_path)


@needs_browser
def test_the_map_on_a_page_works_and_shows_the_frames_it_was_given(run):
    folder, player = run
    write_site(folder)
    with open_page(folder / "site" / "00_how.html") as tab:
        tab.get_by_role("button", name="outside the training range").click()
        tab.wait_for_selector(".pisa-player[data-clip='1']")
        sheet = tab.evaluate(
            """async () => {
                const { sheet } = document.querySelector(".pisa-player").pisaPlayer.state.tracks[0];
                return [...sheet.getContext("2d").getImageData(0, 0, sheet.width, sheet.height).data];
            }"""
        )
    exact = np.asarray(Image.open(io.BytesIO(player.views[1]["tracks"][0]["frames"])).convert("RGBA"))
    error = np.abs(np.reshape(sheet, exact.shape) - exact.astype(int)).mean()
    assert 0 < error < 4, "lossy, but not to the eye"
