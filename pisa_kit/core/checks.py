"""What names, numbers and stored facts may be: one place for types and ranges, for files, commands and Python calls.

A field annotated with one of these types is checked by `check_fields`; whatever else came from outside by `check`.
"""

import re
import unicodedata
from dataclasses import fields
from functools import lru_cache
from typing import Annotated, Any, get_type_hints

import numpy as np
from pydantic import AfterValidator, Field, InstanceOf, TypeAdapter, ValidationError

from pisa_kit.core.errors import InputError, did_you_mean

LONGEST = 180  # bytes of one part of a name; file systems allow 255, and suffixes are added


def _plain_name(name: str) -> str:
    """A relative path of plain parts, which stays below the folder that it is put into."""
    try:
        length = max(len(part.encode()) for part in name.split("/"))
    except UnicodeEncodeError:
        raise ValueError("cannot be written as UTF-8") from None
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError("should be a relative path without empty parts and '..'")
    if "\\" in name or any(unicodedata.category(letter) == "Cc" for letter in name):
        raise ValueError("should have no backslash and no control characters")
    if length > LONGEST:
        raise ValueError(f"should have no part longer than {LONGEST} bytes")
    return name


def _ordered(pair: tuple) -> tuple:
    if pair[0] > pair[1]:
        raise ValueError("should be (low, high) with low <= high")
    return pair


def _within(kind: type, low, high) -> Any:
    return Annotated[kind, Field(ge=low, le=high, strict=True, allow_inf_nan=False if kind is float else None)]


PlainName = Annotated[str, AfterValidator(_plain_name)]
Text = Annotated[str, Field(max_length=10_000, strict=True)]
Fps = _within(float, 0.1, 100_000)
Side = _within(int, 16, 4096)  # of a square picture, pixels
Frames = _within(int, 2, 10_000)
Count = _within(int, 1, 100_000_000)
Whole = _within(int, 0, 100_000_000)
Few = _within(int, 1, 512)  # processes, videos at once
Seed = _within(int, 0, 10**15)
Pixel = _within(float, -1e6, 1e6)
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = _within(float, 0, 1)
Positive = Annotated[float, Field(strict=True, gt=0, le=1e9, allow_inf_nan=False)]
Pair = Annotated[tuple[_within(float, 0, 1e4), _within(float, 0, 1e4)], AfterValidator(_ordered)]
SharePair = Annotated[tuple[_within(float, 0, 0.99), _within(float, 0, 0.99)], AfterValidator(_ordered)]
CountPair = Annotated[tuple[_within(int, 0, 20), _within(int, 0, 20)], AfterValidator(_ordered)]

Array = InstanceOf[np.ndarray]


_adapter = lru_cache(TypeAdapter)


def check(kind: Any, value: Any, file, field: str = "", remedy: str = "") -> Any:
    """`value` as `kind` (a type, one of the above, or a TypedDict) has it.

    Args:
        file, field: what the message names; parts inside the value are added to the field.
        remedy: said in addition to what is wrong.

    Raises:
        InputError: it is of another type or out of range.
    """
    try:
        return _adapter(kind).validate_python(value.item() if isinstance(value, np.generic) else value)
    except RecursionError as error:
        where, problem, wanted, cause = field or "content", "is nested too deep", "Write it anew.", error
    except ValidationError as error:
        first, cause = error.errors(include_url=False)[0], error
        inner = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        where = f"{field}{inner}".removeprefix(".") or "content"
        shown = repr(first["input"]).encode("ascii", "backslashreplace").decode()
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        problem = "is missing" if first["type"] == "missing" else f"is {shown}"
        wanted = first["msg"].removeprefix("Value error, ").replace("Input should", "It should")
        wanted = f"It {wanted}." if wanted.startswith(("should", "cannot")) else f"{wanted}."
        if first["type"] == "literal_error" and isinstance(first["input"], str):
            choices = re.findall("'(.*?)'", wanted)
            wanted = f"{did_you_mean(first['input'], choices)} {wanted}" if len(choices) > 1 else wanted
    raise InputError(file, where, problem, " ".join(filter(None, [wanted, remedy]))) from cause


def check_same(found: dict, wanted: dict, file, what: str) -> None:
    """InputError unless what is described in a folder was made with the same settings, before more is put there."""
    if found != wanted:
        differs = ", ".join(sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key)))
        raise InputError(file, differs, f"differ from {what}", "Choose another folder, or the original settings.")


def check_fields(settings, file) -> None:
    """Checks the fields of a dataclass whose types say what they may be; errors as in `check`."""
    for name, kind in _kinds(type(settings)).items():
        check(kind, getattr(settings, name), file, name)


@lru_cache
def _kinds(settings: type) -> dict[str, Any]:
    hints = get_type_hints(settings, include_extras=True)
    return {field.name: hints[field.name] for field in fields(settings)}
