"""Gravity or only the training range? The two-object test (arXiv 2512.02016), and the verdicts of the map (PISA)."""

import pandas as pd

from pisa_kit.clips.clip import Clip
from pisa_kit.metrics.fall_time import fall_time, track
from pisa_kit.metrics.verdicts import ask
from pisa_kit.sim.scenes import Scene
from pisa_kit.sim.settings import GRAVITY


def ratio_of_heights(truths: list[Clip], tracked: list[list[Clip]]) -> pd.DataFrame:
    """The two-object test: (t1 / t2)^2 over h1 / h2, which is 1 under any constant gravity, scale and frame rate.

    Object 1 is the higher one, of equally high ones the larger: in any order, a model in which all things take the same
    time would be as often too high as too low. Fall times are seen in the videos, without knowing where the floor is:
    what falls on through it has none.

    Args:
        truths: simulated clips of two falling objects.
        tracked: for object 0 and 1, the films with that object's mask, in the order of `truths`.

    Returns:
        A row per clip: `name`, `height_ratio`, `time_ratio` (t1 / t2)^2 and `ratio`; NaN where one of the two never
        lands or is lost.
    """
    rows = []
    for number, truth in enumerate(truths):
        things = Scene.from_dict(truth.info["scene"], truth.name).things
        order = sorted((0, 1), key=lambda one: (-round(things[one].bounds[0][2], 3), -things[one].size))
        heights = [float(things[one].bounds[0][2]) for one in order]
        times = [fall_time(track(tracked[one][number].dropped, whole=True)[:, 1], truth.fps) for one in order]
        row = {"height_ratio": heights[0] / heights[1], "time_ratio": (times[0] / times[1]) ** 2}
        rows.append({"name": truth.name} | row | {"ratio": row["time_ratio"] / row["height_ratio"]})
    return pd.DataFrame(rows)


# --- verdicts --------------------------------------------------------------------------------------------------

WITHIN = 0.1  # share of g by which the median of g_eff may be off, and by which g_eff may change over the map
OUTSIDE = 1.5  # times the relative error inside
RATIO = 0.03  # by which two objects' ratio may miss 1
CEILINGS = ("ideal", "codec", "best guess")  # of every test here
TIMES = "{:.1f} times the error inside"
STILL = 0.5  # relative error inside from which on nothing can be said to fall


def outside(ratios: pd.DataFrame) -> dict[str, str]:
    """The test *outside* in pictures that tell the distance: what the best guess cannot know there is not its ceiling.

    Args:
        ratios: "method", "value" and the relative error "inside"; *ideal* and *codec* among the methods.

    Returns:
        Method to its verdict, as from `verdicts.ask`.
    """
    found = ratios.set_index("method")
    passed = (found["value"] <= OUTSIDE) & (found["inside"] < STILL)
    return ask(passed.to_dict(), found["value"].map(TIMES.format).to_dict(), CEILINGS[:2])


def checks(gravity: pd.DataFrame, slopes: pd.DataFrame, ratios: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Four tests of every method, each asked only if the ceilings pass it (`verdicts.ask`).

    *falls*: median g_eff within `WITHIN` of g. The others count only for what falls: a still thing has no slope either.
    *everywhere*: g_eff changes by less than `WITHIN` of g over two standard deviations of height, distance and size.
    *outside*: the median relative error outside is at most `OUTSIDE` times that inside. *two objects*: the median ratio
    is within `RATIO` of 1, and at least half of the videos could be measured.

    Args:
        gravity: "method" and "value" (m/s^2).
        slopes: of `statistics.slopes`, with "method".
        ratios: "method" and "value".
        pairs: "method", "value", "measured" and "videos".

    Returns:
        A row per method, a column per test, cells as from `verdicts.ask`.
    """
    g, ratio = (table.set_index("method")["value"] for table in (gravity, ratios))
    pair, effect = pairs.set_index("method"), slopes["effect"].abs().groupby(slopes["method"]).max().reindex(g.index)
    falls = (g - GRAVITY).abs() <= WITHIN * GRAVITY
    together = ((pair["value"] - 1).abs() <= RATIO) & (pair["measured"] >= pair["videos"] / 2)
    counted = "a ratio of {0.value:.2f}, {0.measured:.0f} of {0.videos:.0f} measured"
    tests = {  # whether each method passes, and its number in words
        "falls": (falls, g.map("{:.2f} m/s²".format)),
        "everywhere": (effect <= WITHIN * GRAVITY, effect.map("{:.1f} m/s² over the map".format)),
        "outside": (ratio <= OUTSIDE, ratio.map(TIMES.format)),
        "two objects": (together, pair.apply(counted.format, axis=1)),
    }
    verdicts = {test: ask((falls & holds).to_dict(), said.to_dict(), CEILINGS) for test, (holds, said) in tests.items()}
    return pd.DataFrame(verdicts).loc[list(gravity["method"])]
