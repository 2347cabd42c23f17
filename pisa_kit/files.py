"""Reading and writing files so that bad input says what is wrong and a crash leaves no half file."""

import json
import os
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np


class InputError(ValueError):
    """Bad input from outside: names the file, the field in it, what is wrong and how to mend it."""

    def __init__(self, file, field: str, problem: str, remedy: str):
        super().__init__(f"{file}: {field}: {problem}. {remedy}")
        self.file, self.field, self.problem, self.remedy = str(file), field, problem, remedy


@contextmanager
def atomic_path(path):
    """Yields a temporary path beside `path`; it takes `path`'s place only if the block succeeds.

    Raises:
        InputError: the folder cannot be created or written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise InputError(path, "output", problem, "Choose a folder you may write to.") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, data) -> None:
    """Writes `data` as indented JSON, whole or not at all; NaN is refused because JSON has none."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path):
    """Reads a JSON file.

    Raises:
        InputError: missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise InputError(path, "file", "does not exist", "Check the path.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(path, "file", f"is not JSON ({error})", "Restore it from its source.") from error


def write_npz(path, **arrays) -> None:
    """Writes arrays as a compressed npz, whole or not at all (fast deflate: a clip costs milliseconds)."""
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def read_npz(path, *names: str) -> dict[str, np.ndarray]:
    """Reads the named arrays (all of them when none is named); pickles are refused.

    `path` may also be an open binary file (a zip member).

    Raises:
        InputError: missing, truncated, corrupt or pickled file, or a missing array.
    """
    label = path if isinstance(path, (str, Path)) else getattr(path, "name", "file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive.files]
            if missing:
                problem = f"is not in the file (it has {', '.join(archive.files) or 'nothing'})"
                raise InputError(label, missing[0], problem, "Write it under this name.")
            return {name: archive[name] for name in names or archive.files}
    except FileNotFoundError as error:
        raise InputError(label, "file", "does not exist", "Check the path.") from error
    except InputError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        pickled = "pickle" in str(error).lower()
        problem = "holds pickled objects, which are never loaded" if pickled else f"is truncated or corrupt ({error})"
        raise InputError(
            label, "array data", problem, "Write it again with numpy.savez_compressed on plain arrays."
        ) from error
