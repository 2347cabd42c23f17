"""Figures about training and physics: what they show is what they were given, and missing values are no crash."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from scipy import stats

from pisa_kit.clips.clip import Camera
from pisa_kit.metrics.statistics import slopes
from pisa_kit.sim.settings import Ranges
from pisa_kit.sim.worlds import Ambiguity
from pisa_kit.study.settings import AMBIGUOUS
from pisa_kit.viz import figures, physics_figures

EDGES = (2.0, 3.5, 5.0), (0.5, 1.25, 2.0)
AMBIGUITY = Ambiguity(0.5, 61.5, 8.0, stats.uniform(2.0, 1.5))


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def table(values) -> pd.DataFrame:
    places = {"distance": [2.5, 3.0, 4.0], "height": [1.0, 1.0, 1.5]}
    return pd.DataFrame({"method": "PSFT", "name": ["a", "b", "c"], **places, "l2": values})


def test_a_cell_shows_the_mean_of_its_clips():
    figure = physics_figures.cell_maps(table([0.1, 0.3, 0.5]), "l2", *EDGES, Ranges())
    assert sorted(text.get_text() for text in figure.axes[0].texts) == [".200", ".500"]
    assert "1–2 clips per cell" in figure.get_supxlabel()
    [box] = figure.axes[0].patches
    assert (box.get_x(), box.get_width(), box.get_y(), box.get_height()) == (2.0, 1.5, 0.5, 0.75)


@pytest.mark.parametrize("signed", [False, True])
def test_a_map_without_any_value_is_empty(signed):
    figure = physics_figures.cell_maps(table([np.nan] * 3), "l2", *EDGES, Ranges(), signed=signed)
    assert not figure.axes[0].texts


def test_lines_have_the_joint_slopes():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"height": rng.uniform(0, 1, 40), "size": rng.uniform(0, 1, 40)})
    rows = rows.assign(method="PSFT", name=range(40))
    rows["g_eff"] = 5 + 3 * rows["height"]
    found = slopes(rows, "g_eff", ("height", "size")).assign(method="PSFT")
    axes = physics_figures.gravity_slopes(rows, found).axes
    for axis, slope in zip(axes, (3, 0), strict=True):
        x, y = axis.lines[0].get_data()
        assert (y[1] - y[0]) / (x[1] - x[0]) == pytest.approx(slope, abs=1e-9)


def test_fall_times_and_falls_in_space_take_methods_without_any():
    times = {"base": np.full(9, np.nan), "PSFT": np.linspace(0.4, 0.5, 9), "best guess": np.full(8, 0.45)}
    figure = physics_figures.fall_times(times, AMBIGUITY)
    names = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert names[:3] == ["analytic", "PSFT, 9 of 9 land", "best guess, 8 of 8 land, one answer"]
    assert names[3:] == ["too few land to be drawn:\nbase 0 of 9"]
    camera = Camera(61.5, 0.5, (32, 32))
    fall = np.column_stack([np.zeros(5), np.full(5, 2.0), np.linspace(1, 0, 5)])
    figure = physics_figures.in_space({"base": [], "PSFT": [fall]}, AMBIGUITY, camera)
    assert len(figure.axes[0].lines) == 0 and len(figure.axes[1].lines) == 2


BLIND = {  # Machado, Oliveira, Fernandes 2009, severity 1, on linear RGB
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
REFERENCES = {"truth", "ideal", "codec", "best guess", "slow gravity", "frozen", "vanish"}
TOGETHER = [  # what notebooks 01, 04 and 05 draw in one figure, and rewards in 03
    REFERENCES | {"base", "base (recommended size)", "PSFT", *AMBIGUOUS, "seg", "flow", "depth"},
    {"truth", "codec", "best guess", "base", "PSFT", "seg", "flow", "depth", "newton", "iou", "combined", "centre"},
]


def lab(colours: list[str], kind: str) -> np.ndarray:
    """(N, 3) CIELAB of sRGB colours as a reader sees them."""
    rgb = np.array([to_rgb(each) for each in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(BLIND[kind]), 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    x, y, z = np.cbrt(np.maximum(linear @ np.transpose(to_xyz) / (0.95047, 1, 1.08883), 1e-9)).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


@pytest.mark.parametrize("kind", BLIND)
@pytest.mark.parametrize("methods", TOGETHER, ids=["all", "rewards"])
def test_methods_can_be_told_apart_by_colour_blind_readers(kind, methods):
    methods = sorted(methods)
    seen = lab([figures.colour(method) for method in methods], kind)
    apart = np.linalg.norm(seen[:, None] - seen, axis=-1) + 1000 * np.eye(len(seen))
    pair = np.unravel_index(apart.argmin(), apart.shape)
    assert apart.min() >= 15, [methods[index] for index in pair]


def test_colours_are_seen_as_they_are():
    """White is (100, 0, 0), and red and green of equal lightness fall together for a reader without green cones."""
    np.testing.assert_allclose(lab(["#ffffff"], "normal"), [[100, 0, 0]], atol=0.02)
    red_green = [np.linalg.norm(np.diff(lab(["#a83232", "#5c6410"], kind), axis=0)) for kind in BLIND]
    assert red_green[2] < 0.4 * red_green[0]


def test_neighbouring_methods_have_other_dashes():
    lines = [str(figures.line_of(method)) for method in figures.COLOURS]
    assert len(set(lines)) == len(figures.LINES) and lines[0] == "-" and figures.line_of("unknown") == "-"
    assert figures.line_of("seg, hacked") == figures.line_of("seg")
