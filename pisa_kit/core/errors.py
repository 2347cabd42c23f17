"""The one error for bad input, and checks that raise it."""

import difflib
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input from outside: names the file, the field in it, what is wrong and how to mend it."""

    def __init__(self, file, field: str, problem: str, remedy: str):
        super().__init__(f"{file}: {field}: {problem}. {remedy}")
        self.file, self.field, self.problem, self.remedy = str(file), field, problem, remedy

    def __reduce__(self):  # so that it crosses process borders
        return type(self), (self.file, self.field, self.problem, self.remedy)


@contextmanager
def about(file):
    """Inside, bad input is said to be in `file`, whatever it was said to be in."""
    try:
        yield
    except InputError as error:
        raise InputError(file, error.field, error.problem, error.remedy) from error


def first_line(error: Exception) -> str:
    """What an error says, short: the first line of its text, or its kind if it has none."""
    return next(iter(str(error).splitlines()), "")[:200] or type(error).__name__


def check_choice(name: str, choices, label: str) -> str:
    """Returns `name` if it is one of `choices`.

    Raises:
        InputError: it is not; the message suggests the nearest one and lists all.
    """
    if name in choices:
        return name
    remedy = f"{did_you_mean(name, choices)} Known: {', '.join(choices)}."
    raise InputError("arguments", label, f"{name!r} is unknown", remedy)


def did_you_mean(name: str, choices) -> str:
    """Asks for the nearest of the choices."""
    return f"Did you mean {difflib.get_close_matches(name, list(choices), n=1, cutoff=0.0)[0]!r}?"
