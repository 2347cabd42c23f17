"""Which tests can be asked of a model here: only those that its ceilings pass."""

PASSES, FAILS = "passes", "fails"
DISAGREE = "trainings or pictures disagree"
KNOWN = ("truth", "ideal", "codec", "best guess", "slow gravity", "frozen", "vanish")  # reference predictors


def ask(passed: dict[str, bool], measured: dict[str, str], ceilings: tuple[str, ...]) -> dict[str, str]:
    """What one test says of every method.

    A test that physics itself fails once it has gone through a model's autoencoder, or that nobody who sees only the
    first frame can pass, says nothing about the model.

    Args:
        passed: method to whether its numbers pass.
        measured: method to its number, in words.
        ceilings: methods that a model cannot be better than, e.g. "codec"; those that are not in `passed` do not count.

    Returns:
        Method to `PASSES`, `FAILS`, or "cannot be asked here: codec alone gives 17 %". Reference predictors, whose
        answer is known, always pass or fail.
    """
    failing = [name for name in ceilings if name in passed and not passed[name]]
    said = {True: PASSES, False: FAILS}
    if not failing:
        return {method: said[bool(holds)] for method, holds in passed.items()}
    why = "cannot be asked here: " + ", ".join(f"{name} alone gives {measured[name]}" for name in failing)
    return {method: said[bool(holds)] if method.startswith(KNOWN) else why for method, holds in passed.items()}


def together(verdicts) -> str:
    """One verdict of several trainings or pictures: theirs if they agree, `DISAGREE` if some pass and some fail."""
    said = list(dict.fromkeys(verdicts))
    return DISAGREE if set(said) == {PASSES, FAILS} else "; ".join(said)


def asked(verdict: str) -> bool:
    """Could the test be asked?"""
    return verdict in (PASSES, FAILS)
