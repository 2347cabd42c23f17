"""When a tuning stops, and which of its steps is kept: held-out metrics say so, not the reward."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from diffusers import DiffusionPipeline

from pisa_kit.core.storage import read_json, write_json
from pisa_kit.training.settings import OroSettings


def keep_best(
    train_to: Callable[[int], DiffusionPipeline],
    validate: Callable[[DiffusionPipeline], dict],
    settings: OroSettings,
    folder: Path,
    judged_by: str = "",
) -> tuple[DiffusionPipeline, list[dict]]:
    """Trains from look to look, until `settings.patience` of them in a row are no better than the best before.

    Args:
        train_to: gives the model after a number of steps; after 0 the model as given.
        validate: metrics of a model on clips that are neither training nor test, of which
            `settings.early_stopping_metric` is minimised.
        folder: receives validation.json, from which an interrupted tuning knows what was seen.
        judged_by: a name for the clips and the way they are judged; what was seen under another name does not count.

    Returns:
        The best model and what `validate` said: "step" and metrics, from step 0 on.
    """
    path, validations, best = folder / "validation.json", [], None
    saved = read_json(path) if path.exists() else {}
    named = isinstance(saved, dict) and saved.get("judged_by") == judged_by  # once it was a list, without a name
    known = {look["step"]: look for look in saved["looks"]} if named else {}
    for steps in settings.evaluations():
        model = train_to(steps)
        if steps not in known:
            measured = {"step": steps} | validate(model)
            known[steps] = {name: None if np.isnan(value) else value for name, value in measured.items()}
            write_json(path, {"judged_by": judged_by, "looks": list(known.values())})
        validations.append({name: np.nan if value is None else value for name, value in known[steps].items()})
        lowest = np.nanargmin([look[settings.early_stopping_metric] for look in validations])
        if lowest == len(validations) - 1:
            best = model
        if len(validations) - 1 - lowest >= settings.patience:
            break
    return best, validations
