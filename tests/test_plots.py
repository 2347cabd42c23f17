"""Figures about training and physics: what they show is what they were given, and missing values are no crash."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pisa_kit.clips.clip import Camera
from pisa_kit.metrics.statistics import slopes
from pisa_kit.sim.settings import Ranges
from pisa_kit.sim.worlds import Ambiguity
from pisa_kit.viz import physics_figures

EDGES = (2.0, 3.5, 5.0), (0.5, 1.25, 2.0)
AMBIGUITY = Ambiguity(0.5, 61.5, 8.0, stats.uniform(2.0, 1.5))


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def table(values) -> pd.DataFrame:
    places = {"distance": [2.5, 3.0, 4.0], "height": [1.0, 1.0, 1.5]}
    return pd.DataFrame({"method": "PSFT", **places, "l2": values})


def test_a_cell_shows_the_mean_of_its_clips():
    figure = physics_figures.cell_maps(table([0.1, 0.3, 0.5]), "l2", *EDGES, Ranges())
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["0.200", "0.500"]
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
    figure = physics_figures.fall_times({"base": np.full(9, np.nan), "PSFT": np.linspace(0.4, 0.5, 9)}, AMBIGUITY)
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["analytic", "PSFT, n = 9"]
    camera = Camera(61.5, 0.5, (32, 32))
    fall = np.column_stack([np.zeros(5), np.full(5, 2.0), np.linspace(1, 0, 5)])
    figure = physics_figures.in_space({"base": [], "PSFT": [fall]}, AMBIGUITY, camera)
    assert len(figure.axes[0].lines) == 0 and len(figure.axes[1].lines) == 2
