"""The README's table is the one the full preset measured."""

import json
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
METRICS = {
    "l2": "L2, official",
    "chamfer_distance": "CD, official",
    "iou": "IoU, official",
    "fixed_l2": "L2, fixed",
    "fixed_chamfer_distance": "CD, fixed",
    "coverage": "coverage",
}


def measured() -> dict:
    results = json.loads((ROOT / "figures" / "results.json").read_text(encoding="utf-8"))
    return {name: entry["results"] for name, entry in results.items()}


def table() -> list[str]:
    """Markdown lines from figures/results.json: unseen objects and backgrounds."""
    results = measured()["01_baseline_evaluation"]
    rows = pd.DataFrame(results["tracker_on_truth"]).assign(method="truth, tracked")
    rows = pd.concat([rows, pd.DataFrame(results["summary"]).query("split == 'unseen'")])
    gravity = {row["method"]: row["median"] for row in results["g_eff"] if row["split"] == "unseen"}
    lines = ["| | " + " | ".join(METRICS.values()) + " | g_eff [m/s²] |", "|---" * (len(METRICS) + 2) + "|"]
    for method, group in rows.groupby("method", sort=False):
        means = group.set_index("metric")
        cells = ["{mean:.3f} [{low:.3f}, {high:.3f}]".format(**means.loc[metric]) for metric in METRICS]
        shown = f"{abs(gravity[method]):.2f}" if method in gravity else "–"
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {shown} |")
    return lines


def statements() -> list[str]:
    """The numbers in the README's sentences."""
    watch, baseline = measured()["00_watch_stuff_drop"], measured()["01_baseline_evaluation"]
    low, high = watch["g_eff_interval_of_clips"]
    phone = baseline["phone_gravity"]
    slow = [row["median"] for row in baseline["g_eff"] if row["method"] == "slow gravity" and row["split"] == "unseen"]
    return [
        f"clips is {watch['g_eff_median']:.2f} m/s² (95 % of clips between {low:.2f} and {high:.2f})",
        f"right to {watch['fall_time_error_ms_median']:.1f} ms (median)",
        f"is measured as {slow[0]:.2f}",
        f"{phone['value']:.2f} m/s² [{phone['interval'][0]:.2f}, {phone['interval'][1]:.2f}]",
    ]


LOOKS = {"visibility": "visibility", "object_colour_error": "object colour error", "background_psnr": "background [dB]"}


def psft_table() -> list[str]:
    """Markdown lines: base and PSFT on seen and unseen objects and backgrounds."""
    results = measured()["02_psft"]
    metrics = {name: METRICS[name] for name in ("l2", "chamfer_distance", "iou", "fixed_l2")} | LOOKS
    gravity = {(row["method"], row["split"]): row["median"] for row in results["g_eff"]}
    lines = ["| | " + " | ".join(metrics.values()) + " | g_eff [m/s²] |", "|---" * (len(metrics) + 2) + "|"]
    for (split, method), group in pd.DataFrame(results["summary"]).groupby(["split", "method"], sort=False):
        means = group.set_index("metric")
        digits = {"background_psnr": 1}
        cells = [
            "{mean:.{d}f} [{low:.{d}f}, {high:.{d}f}]".format(**means.loc[name], d=digits.get(name, 3))
            for name in metrics
        ]
        lines.append(f"| {method}, {split} | " + " | ".join(cells) + f" | {gravity[method, split]:.2f} |")
    return lines


def psft_statements() -> list[str]:
    """The numbers in the sentences about PSFT."""
    results = measured()["02_psft"]
    [l2] = [row for row in results["reductions"] if row["split"] == "unseen" and row["metric"] == "l2"]
    enough = results["smallest_for_80_percent"]
    seen = {row["clips"]: row["mean"] for row in results["data"] if row["metric"] == "visibility"}
    rising = {row["method"]: row["mean"] for row in results["forgetting"] if row["verb"] == "rises"}
    return [
        f"by {100 * l2['mean']:.0f} % [{100 * l2['low']:.0f}, {100 * l2['high']:.0f}] (paper: 78 %)",
        f"{enough['clips']} clips and {enough['steps']} steps",
        ", ".join(f"{share:.2f} with {clips:,}" for clips, share in seen.items()),
        f"{100 * rising['base']:.0f} % of the base's objects do, and {100 * rising['PSFT']:.0f} % after PSFT",
    ]


def oro_table() -> list[str]:
    """Markdown lines: PSFT and every reward on unseen objects and backgrounds."""
    results = measured()["03_oro"]
    metrics = {name: METRICS[name] for name in ("l2", "chamfer_distance", "iou", "fixed_l2")} | LOOKS
    lines = ["| | " + " | ".join(metrics.values()) + " |", "|---" * (len(metrics) + 1) + "|"]
    rows = pd.DataFrame(results["summary"]).query("split == 'unseen'")
    for method, group in rows.groupby("method", sort=False):
        means = group.set_index("metric")
        digits = {"background_psnr": 1}
        cells = [
            "{mean:.{d}f} [{low:.{d}f}, {high:.{d}f}]".format(**means.loc[name], d=digits.get(name, 3))
            for name in metrics
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def oro_statements() -> list[str]:
    """The numbers in the sentences about ORO: changes against PSFT on the same unseen clips."""
    results = measured()["03_oro"]
    falls = {(row["method"], row["metric"]): row for row in results["reductions"] if row["split"] == "unseen"}

    def change(method: str, metric: str, sign: int) -> str:
        row = falls[f"+{method}", metric]
        low, high = sorted(round(sign * 100 * row[end]) for end in ("low", "high"))
        return f"{sign * 100 * row['mean']:.0f} % [{low}, {high}]"

    steps = pd.DataFrame(results["gradient_steps"]).groupby("K")["fixed_l2"].mean()
    before = pd.Series(
        [looks[0]["fixed_l2"] for name, looks in results["looks"].items() if name.startswith("seg seed")]
    )
    means = {(row["method"], row["metric"]): row["mean"] for row in results["summary"] if row["split"] == "unseen"}
    lost = means["PSFT", "background_psnr"] - means["+seg", "background_psnr"]
    return [
        f"the background loses {lost:.1f} dB",
        f"steps that carry gradients (PSFT: {before.mean():.3f})",
        *(f"`{name}` {change(name, 'l2', 1)}" for name in results["rewards"]),
        *(f"IoU rises by {change(name, 'iou', -1)} with `{name}`" for name in ("seg", "combined")),
        ", ".join(f"{error:.3f} with K = {K}" for K, error in steps.items()),
        f"from {results['hacked'][0]['background_psnr']:.0f} to {results['hacked'][-1]['background_psnr']:.0f} dB",
    ]


INTERVAL = "{:.2f} [{:.2f}, {:.2f}]".format


def gravity_table() -> list[str]:
    """Markdown lines: what should not depend on height, distance or range, per method; intervals over clips."""
    results = measured()["04_generalization"]
    heads = "median g_eff", "g_eff per metre of height", "error outside over inside", "two objects", "passes"
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    of = lambda key, method, **where: next(  # noqa: E731
        row for row in results[key] if row["method"] == method and all(row[one] == where[one] for one in where)
    )
    for check in results["checks"]:
        method = check.pop("method")
        slope, ratio = of("slopes", method, by="height"), of("outside_over_inside", method, metric="relative")
        gravity, pair = of("gravity", method), of("two_objects", method, kind="different heights")
        cells = [
            *(
                INTERVAL(row[key], row["low"], row["high"]).replace("-0.00", "0.00")
                for row, key in ((gravity, "median"), (slope, "slope"), (ratio, "ratio"))
            ),
            f"{INTERVAL(pair['median'], pair['low'], pair['high'])}, " if pair["n"] else "",
        ]
        cells[-1] += f"{pair['n']} of {pair['videos']}"
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {sum(check.values())} of {len(check)} |")
    return lines


def gravity_statements() -> list[str]:
    """The numbers in the sentences about generalization."""
    results = measured()["04_generalization"]
    rows = pd.DataFrame(results["map"]).query("method == 'PSFT'")
    late = 1000 * rows["fall_time_error"]
    [outside] = [
        row for row in results["outside_over_inside"] if row["method"] == "PSFT" and row["metric"] == "relative"
    ]
    quarter = {
        (row["objects"], row["backgrounds"]): row["mean"]
        for row in results["two_by_two"]
        if row["method"] == "PSFT" and row["metric"] == "visibility"
    }
    return [
        f"A map of {results['map_clips']} clips",
        "relative error times " + INTERVAL(outside["ratio"], outside["low"], outside["high"]),
        f"{-late[rows['height'] > 1.25].mean():.0f} ms too early from above 1.25 m",
        f"{late[rows['height'] < 0.5].mean():.0f} ms too late from below 0.5 m",
        f"{quarter['seen', 'seen']:.3f} to {quarter['unseen', 'seen']:.3f} with unseen objects, "
        f"to {quarter['seen', 'unseen']:.3f} with unseen backgrounds",
    ]


def answers_table() -> list[str]:
    """Markdown lines: fall times and distances of videos from ambiguous pictures, mean and range over trainings."""
    results = measured()["05_distribution"]
    rows = pd.DataFrame(results["trainings"])
    heads = "seeds", "land", "distances disagree by", "Wasserstein-1 [s]", "spread over the right one", "possible"
    heads += ("as often as they should",)
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for method, group in rows.groupby("method", sort=False):
        shown = []
        for key, form in (
            ("landed", ".0%"),
            ("|disagreement|", ".0%"),
            ("Wasserstein-1 [s]", ".3f"),
            ("spread", ".2f"),
        ):
            mean, low, high = (format(value, form) for value in group[key].astype(float).agg(["mean", "min", "max"]))
            shown.append("–" if mean.startswith("nan") else mean if low == high else f"{mean} ({low} to {high})")
        passed = [f"{int(group[question].sum())} of {len(group)}" for question in ("faithful", "aligned")]
        lines.append(f"| {method} | {len(group)} | " + " | ".join(shown + passed) + " |")
    return lines


def test_statements_are_the_measured_ones():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for statement in statements() + psft_statements() + oro_statements() + gravity_statements():
        assert statement in text, statement


def test_table_is_the_measured_one():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for line in table() + psft_table() + oro_table() + gravity_table() + answers_table():
        assert line in text, f"missing in README.md:\n{line}"


if __name__ == "__main__":
    print("\n".join(table() + statements() + psft_table() + psft_statements() + oro_table() + oro_statements()))
    print("\n".join(gravity_table() + gravity_statements() + answers_table()))
