"""Reading and writing files so that bad input says what is wrong and a crash leaves no half file."""

import io
import json
import os
import shutil
import tempfile
import zipfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from zlib_ng import zlib_ng

from pisa_kit.core.errors import InputError

DATA = Path(__file__).parents[1] / "data"  # what ships with the package
WEIGHTS = Path(__file__).parents[1] / "weights"
LOCAL_HEADER = 30  # bytes before the name in a zip member


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


@contextmanager
def atomic_folder(path, place=os.rename):
    """Yields a temporary folder beside `path`; it becomes `path` only if the block succeeds.

    Args:
        place: (temporary, path), puts one in the other's place; the default needs `path` not to exist.

    Raises:
        InputError: the folder cannot be created or written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise InputError(path, "output", problem, "Choose a folder you may write to.") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def link_or_copy(source, target):
    """Gives a file a second name, or where the file system cannot, a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_json(path, data) -> None:
    """Writes `data` as indented JSON, whole or not at all; NaN is refused because JSON has none."""
    with atomic_path(path) as temporary:
        text = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8")


def read_json(path):
    """Reads a JSON file.

    Raises:
        InputError: missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
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
        with nullcontext(path) if hasattr(path, "read") else open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            missing = [name for name in names if name not in members]
            if missing:
                problem = f"is not in the file (it has {', '.join(members) or 'nothing'})"
                raise InputError(label, missing[0], problem, "Write it under this name.")
            return {name: _read_array(file, archive, members[name]) for name in names or members}
    except FileNotFoundError as error:
        raise InputError(label, "file", "does not exist", "Check the path.") from error
    except InputError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib_ng.error) as error:
        pickled = "pickle" in str(error).lower() or "Object arrays" in str(error)
        problem = "holds pickled objects, which are never loaded" if pickled else f"is truncated or corrupt ({error})"
        raise InputError(
            label, "array data", problem, "Write it again with numpy.savez_compressed on plain arrays."
        ) from error


def _read_array(file, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array of an npz, inflated by zlib-ng: four times faster than zipfile, and loading dominates scoring."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
        data = archive.read(member)
    else:
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER)
        file.seek(sum(int.from_bytes(header[place : place + 2], "little") for place in (26, 28)), 1)
        data = file.read(member.compress_size)
        if member.compress_type == zipfile.ZIP_DEFLATED:
            data = zlib_ng.decompress(data, -15, max(member.file_size, 1))
        if len(data) != member.file_size or zlib_ng.crc32(data) != member.CRC:
            raise zipfile.BadZipFile(f"wrong length or checksum of {member.filename}")
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
