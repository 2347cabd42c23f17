"""Thin widgets over plain functions: the notebooks call the same functions once without them."""

from collections.abc import Callable
from html import escape

import ipywidgets as widgets

from pisa_kit.clips.clip import Clip, Clips
from pisa_kit.core.checks import check
from pisa_kit.core.errors import InputError
from pisa_kit.sim.probes import Cell
from pisa_kit.viz import figures, moving, training_figures
from pisa_kit.viz.player import TrajectoryPlayer
from pisa_kit.viz.tracker import FootageTracker, open_footage


def inspect(truths, predictions) -> TrajectoryPlayer:
    """The trajectory inspector: all methods beside the truth, played in the browser, with tracks, curves and metrics.

    Space plays, arrow keys step, a click on a curve goes there. Dotted: g t^2 / 2; dashed: each method's own parabola;
    a triangle marks a contact, a cross a frame in which the object is lost.

    Args:
        truths: a `Clip` with masks, or a list of them.
        predictions: a `Clip` with masks, a list in the order of `truths`, or {method: either of these}.

    Example:
        `inspect(truth, prediction)`
    """
    truths = _listed(truths, "truths")
    methods = predictions if isinstance(predictions, dict) else {"prediction": predictions}
    methods = {name: _listed(clips, name) for name, clips in methods.items()}
    for name, clips in methods.items():
        if len(clips) != len(truths):
            problem = f"has {len(clips)} clips for {len(truths)} truths"
            raise InputError("inspect", name, problem, "Give one prediction per truth, in the same order.")
    return TrajectoryPlayer(truths, methods)


def _listed(clips, field: str) -> list[Clip]:
    """One clip or several as a list."""
    clips = [clips] if isinstance(clips, Clip) else clips
    return check(Clips, clips, "inspect", field, "Give a Clip with masks, or a list of them.")


def track_footage(
    video,
    fps: float | None = None,
    points: dict[int, tuple[float, float]] | None = None,
    ends=(),
    metres: float = 1.0,
    release: int = 0,
    tilted: bool = False,
    longest: int = 400,
    **cut,
) -> FootageTracker:
    """Click to track: name the object, a scale and the release by clicks, and read g; then save it as a clip.

    What is given here is marked already. All pixels are those of the video, after rotation.

    Args:
        video: a file, or frames (T, H, W, 3) uint8, which then need `fps`.
        fps: the rate at which it was recorded (a slow-motion file plays more slowly). Default: the file's.
        points: {frame: (x, y) on the object}; the first one starts the track, others correct it.
        ends: two points (x, y), `metres` apart, in the plane of the fall.
        release: frame in which the object is let go; a frame or two too early or late does no harm.
        tilted: the camera looks up or down; then the scale must run along the fall.
        longest: files are tracked and saved at this longest side, pixels.
        cut: rotate, start and end of a file, as of `import_video`.

    Example:
        `track_footage("drop.mp4", fps=240)`
    """
    clip, scale = open_footage(video, fps, longest, **cut)
    marked = [[frame, x * scale, y * scale] for frame, (x, y) in (points or {}).items()]
    ends = [[x * scale, y * scale] for x, y in ends]
    return FootageTracker(clip, points=marked, ends=ends, metres=float(metres), release=release, tilted=tilted)


def cell_browser(
    truths: list[Clip], cells: list[Cell], methods: dict[str, list[Clip]], per_cell: int = 3
) -> TrajectoryPlayer:
    """The map of distance and height as a heat map over the inspector; a click on a cell shows its clips there.

    Args:
        truths: clips of the map, and `cells` the cell of each.
        methods: {method: its videos with masks in the same order}.
        per_cell: clips of a cell that are shown, the first ones; the map's means are theirs.
    """
    shown = [index for index, cell in enumerate(cells) if cells[:index].count(cell) < per_cell]
    few = {name: [clips[index] for index in shown] for name, clips in methods.items()}
    return TrajectoryPlayer([truths[index] for index in shown], few, [cells[index] for index in shown])


def live_curve(every: int = 5) -> tuple[widgets.Image, Callable[[dict], None]]:
    """A picture that shows a training's loss while it runs, and the function to hand to the training as `watch`.

    Args:
        every: lines of the log between two drawings.
    """
    picture, log = widgets.Image(format="png", layout={"display": "none"}), []  # a training that is there draws nothing

    def watch(line: dict):
        log.append(line)
        if len(log) % every == 0:
            picture.value = figures.png(training_figures.loss_curve(log))
            picture.layout.display = None

    return picture, watch


def try_models(film: Callable[..., tuple[Clip, dict[str, Clip]]], verbs: tuple[str, ...], **ranges) -> widgets.VBox:
    """Sliders for a new drop, which the models film beside the truth; shown in the trajectory inspector.

    Args:
        film: takes `verb`, `seed` and the slider values by name; returns the truth and {method: video with masks}.
        verbs: what the caption may say the object does, e.g. ("falls", "rises").
        ranges: slider name to (lowest, highest, start).
    """
    sliders = _sliders(ranges)
    verb = widgets.Dropdown(options=verbs, description="caption says")
    seed = widgets.BoundedIntText(min=0, max=10**6, description="noise seed")
    button, message = widgets.Button(description="let go", button_style="primary"), widgets.HTML()
    box = widgets.VBox([widgets.HBox([*sliders.values()]), widgets.HBox([verb, seed, button]), message])

    def show(_=None):
        message.value = "filming ..."
        try:
            truth, videos = film(verb=verb.value, seed=seed.value, **{name: one.value for name, one in sliders.items()})
        except ValueError as error:
            message.value = f"<b>{escape(str(error))}</b>"
            return
        message.value = ""
        box.children = (*box.children[:3], inspect(truth, videos))

    button.on_click(show)
    show()
    return box


def playground(drop: Callable[..., Clip], **ranges: tuple[float, float, float]) -> widgets.VBox:
    """Sliders that film a new drop at every change and play it at once.

    Args:
        drop: takes the slider values by name, returns a simulated clip.
        ranges: slider name to (lowest, highest, start).
    """
    sliders = _sliders(ranges)
    movie, figure, message = widgets.Image(format="webp"), widgets.Image(format="png"), widgets.HTML()

    def show(_=None):
        try:
            clip = drop(**{name: slider.value for name, slider in sliders.items()})
        except ValueError as error:
            message.value = f"<b>{escape(str(error))}</b>"
            return
        movie.value, figure.value = moving.movie(clip.frames, clip.fps), figures.png(figures.drop(clip))
        message.value = clip.caption

    for slider in sliders.values():
        slider.observe(show, "value")
    show()
    return widgets.VBox([widgets.HBox([widgets.VBox([*sliders.values(), message]), movie]), figure])


def _sliders(ranges: dict[str, tuple[float, float, float]]) -> dict[str, widgets.FloatSlider]:
    options = {"continuous_update": False, "style": {"description_width": "initial"}}
    return {
        name: widgets.FloatSlider(
            start, min=low, max=high, step=0.01 if high < 10 else 0.1, description=name, **options
        )
        for name, (low, high, start) in ranges.items()
    }
