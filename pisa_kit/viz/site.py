"""The executed study as pages to read: notebooks in HTML in which the inspectors still play, without a kernel."""

import base64
import io
import re
import sys
from html import escape
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from PIL import Image

from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import atomic_path
from pisa_kit.viz.player import METRICS, page

VIEW = "application/vnd.jupyter.widget-view+json"
QUALITY = 80  # of the frames in inspectors, WebP
EXPORTER = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True, require_js_url="")
STATE = "application/vnd.jupyter.widget-state+json"


def write_site(folder: Path, site: Path | None = None) -> Path:
    """Writes `site`, or `folder/site/`, from the executed notebooks and figures in a run's folder.

    Returns:
        The index page.

    Raises:
        InputError: there is no executed notebook.
    """
    site, pages = site or folder / "site", []
    if not list((folder / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        raise InputError(folder, "notebooks", "are not there", "Name the folder of a run, e.g. runs/mini.")
    site.mkdir(exist_ok=True, parents=True)
    for path in sorted((folder / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        freeze_widgets(notebook)
        html, _ = EXPORTER.from_notebook_node(notebook)
        for place, name in ((folder.resolve().parent, folder.resolve().parent.name), (Path(sys.prefix), "python")):
            if len(place.parts) > 2:  # "/" and "/usr" stand in other texts, too
                html = html.replace(str(place), name)  # where this machine keeps things is nobody's business
        _write(site / f"{path.stem}.html", html)
        pages.append((path.stem, _heading(notebook)))
    rows = "\n".join(f'<li><a href="{name}.html">{escape(title)}</a></li>' for name, title in pages)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>pisa_kit</title>'
    style = "<style>body{font:17px/1.6 system-ui,sans-serif;max-width:44em;margin:2em auto;padding:0 1em}</style>"
    said = f"Executed notebooks of the preset <b>{escape(folder.name)}</b>. The trajectory inspectors in them play."
    title = "<h1>Can post-training teach a video diffusion model how things fall?</h1>"
    body = f"{title}<p>{said}</p><ul>{rows}</ul>"
    html = f'<!doctype html><html lang="en"><head>{head}{style}</head><body>{body}</body></html>'
    return _write(site / "index.html", html)


def _write(path: Path, text: str) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _heading(notebook) -> str:
    found = re.search(r"^# (.+)$", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"), re.M)
    return found[1] if found else "Notebook"


def freeze_widgets(notebook) -> None:
    """Turns the widgets of an executed notebook into HTML: inspectors play on, others keep the pictures they showed."""
    states = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).pop(VIEW, None)
            if view is not None:
                html, still = "".join(_frozen(view["model_id"], states)), output.data.get("image/png")
                output.data = {"text/html": html} if html else {"image/png": still} if still else {"text/plain": ""}
            if "image/png" in output.get("data", {}):
                output.data = {"text/html": _picture(output.data["image/png"])}
        cell["outputs"] = [out for out in cell.get("outputs", []) if out.get("data") != {"text/plain": ""}]
        if cell.cell_type != "code":
            del cell["outputs"]


def _frozen(model: str, states: dict):
    """Pieces of HTML for a widget and those inside it."""
    held = states.get(model, {})
    state = _restored(held)
    if held.get("model_name") == "AnyModel" and "views" in state:
        yield page({"views": [_lighter(view) for view in state["views"]], "metrics": METRICS})
    elif held.get("model_name") == "ImageModel" and state.get("value", {}).get("bytes"):
        yield f'<img alt="what the widget showed" src="data:image/{state["format"]};base64,{state["value"]["bytes"]}">'
    elif held.get("model_name") == "HTMLModel":
        yield f"<p>{state['value']}</p>"
    children = [child.removeprefix("IPY_MODEL_") for child in state.get("children", [])]
    if not any(states.get(child, {}).get("model_name") == "FloatProgressModel" for child in children):
        for child in children:  # a progress bar is over
            yield from _frozen(child, states)


def _picture(png: str) -> str:
    """A figure as lossless WebP, which is about half as large."""
    return f'<img alt="figure" src="data:image/webp;base64,{_webp(png, lossless=True)}">'


def _webp(picture: str, **options) -> str:
    """A picture in base64 as a WebP in base64."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(picture))).save(buffer, "webp", method=4, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def _lighter(view: dict) -> dict:
    """A clip of an inspector with its frames compressed with losses; masks, tracks and numbers stay exact."""
    for track in view["tracks"]:
        track["frames"]["bytes"] = _webp(track["frames"]["bytes"], quality=QUALITY)
    return view


def _restored(held: dict) -> dict:
    """A widget's state with its bytes, which notebooks store apart, put back as {"bytes": base64}."""
    state = held.get("state", {})
    for buffer in held.get("buffers", []):
        *way, last = buffer["path"]
        place = state
        for step in way:
            place = place[step]
        place[last] = {"bytes": buffer["data"].strip()}
    return state
