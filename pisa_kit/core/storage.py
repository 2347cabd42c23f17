"""Reading and writing files so that bad input says what is wrong and a crash leaves no half file."""

import io
import json
import os
import platform
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import psutil
from filelock import FileLock, Timeout
from safetensors import safe_open
from zlib_ng import zlib_ng

from pisa_kit.core.errors import InputError, first_line

DATA = Path(__file__).parents[1] / "data"  # what ships with the package
WEIGHTS = Path(__file__).parents[1] / "weights"
UNFINISHED = ".unfinished."  # in the names of files that are still being written
MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"  # in them, too: processes of other machines cannot be asked
LOCAL_HEADER = 30  # bytes before the name in a zip member
DAMAGED = "is truncated or corrupt", "Write it again with numpy.savez_compressed or numpy.save on plain arrays."
LARGEST = 16 * 2**30  # bytes that one array or file may claim before memory is taken for it


@contextmanager
def disk(path, field: str = "output", remedy: str = "Choose a folder you may write to, with enough space.") -> Iterator:
    """Inside, what the disk refuses (full, read-only, a folder for a file, a name too long) is an `InputError`."""
    try:
        yield
    except (OSError, UnicodeEncodeError) as error:
        said = getattr(error, "strerror", None) or error
        problem = f"cannot be {'written' if field == 'output' else 'read'} ({said})"
        raise InputError(str(path).encode("utf-8", "backslashreplace").decode(), field, problem, remedy) from error


@contextmanager
def parsed(file, field: str = "file", problem: str = "cannot be read", remedy: str = "Restore it from its source."):
    """Inside, whatever a parser says of bytes from outside is an `InputError`: each raises a dozen kinds of errors."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if "pickle" in str(error).lower() or "Object arrays" in str(error):
            problem = "holds pickled objects, which are never loaded"
        raise InputError(file, field, f"{problem} ({first_line(error)})", remedy) from error


def loadable(path, field: str, remedy: str):
    """`parsed`, for whatever a library raises over weights, configurations and tokenizers."""
    return parsed(path, field, "cannot be loaded", remedy)


@contextmanager
def locked(folder) -> Iterator[None]:
    """Inside, no other process that asks for it writes into the folder; what a killed one left unfinished is removed.

    Raises:
        InputError: another process has it, or it cannot be written.
    """
    folder = Path(folder)
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", blocking=False)
    with disk(folder):
        try:
            lock.acquire()
        except Timeout as error:
            remedy = "Wait until it has finished, or choose another folder."
            raise InputError(folder, "folder", "is being written by another process", remedy) from error
    try:
        sweep(folder)
        yield
    finally:
        lock.release()


def sweep(folder) -> None:
    """Removes what killed processes of this machine left unfinished in a folder."""
    for left in Path(folder).glob(f".*{UNFINISHED}*"):
        process, _, machine = left.name.split(UNFINISHED)[-1].split(".")[0].partition("-")
        if machine in ("", MACHINE) and not (process.isdigit() and psutil.pid_exists(int(process))):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


_sweep_once = cache(sweep)  # when a process first writes into a folder


def beside(path: Path) -> dict:
    """Where what is to become `path` is put together, as arguments for `tempfile`: a name that tells who writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent.resolve())
    return {"dir": path.parent, "prefix": f".{path.name}{UNFINISHED}{os.getpid()}-{MACHINE}."}


@contextmanager
def atomic_path(path):
    """Yields a temporary path beside `path`; it takes `path`'s place only if the block succeeds.

    Raises:
        InputError: the folder cannot be created or written.
    """
    path = Path(path)
    with disk(path):
        if path.exists() and not path.is_file():
            raise OSError("is a folder or a device, not a file")
        handle, name = tempfile.mkstemp(suffix=path.suffix, **beside(path))
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
    with disk(path):
        temporary = Path(tempfile.mkdtemp(**beside(path)))
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


def plain(value):
    """Numpy and NaN as what JSON can hold: numbers, lists and null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def parse_json(data: bytes, file, field: str = "file"):
    """What JSON holds; `InputError` if it is none."""
    with parsed(file, field, "is not JSON"):
        return json.loads(data)


def read_json(path):
    """Reads a JSON file.

    Raises:
        InputError: missing or not JSON.
    """
    return parse_json(read_bytes(path), path)


def plain_file(path) -> Path:
    """The path of a file that can be read to its end.

    Raises:
        InputError: missing, not a plain file (a folder, a pipe, a device), or larger than `LARGEST`.
    """
    path = Path(path)
    with disk(path, "file", "Check the path."):
        status = path.stat() if path.exists() else None
        if status is None:
            problem = "does not exist"
        elif not stat.S_ISREG(status.st_mode):
            problem = "is a folder, a pipe or a device, not a plain file"
        elif status.st_size > LARGEST:
            problem = f"has {status.st_size / 2**30:.0f} GB, more than the {LARGEST / 2**30:.0f} that are read"
        else:
            return path
    raise InputError(path, "file", problem, "Check the path.")


def read_bytes(path) -> bytes:
    """A whole file; errors as of `plain_file`."""
    with disk(path, "file", "Check the path."):
        return plain_file(path).read_bytes()


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
    opened = nullcontext(path) if hasattr(path, "read") else io.BytesIO(read_bytes(path))
    with parsed(label, "array data", *DAMAGED), opened as file, zipfile.ZipFile(file) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        missing = [name for name in names if name not in members]
        if missing:
            problem = f"is not in the file (it has {', '.join(members) or 'nothing'})"
            raise InputError(label, missing[0], problem, "Write it under this name.")
        return {name: _read_array(file, archive, members[name]) for name in names or members}


@contextmanager
def open_tensors(path, remedy: str, field: str = "weights", framework: str = "pt") -> Iterator:
    """An open safetensors file: `metadata()`, `keys()`, `get_tensor(name)`; InputError for a missing or damaged one."""
    if not Path(path).exists():
        raise InputError(path, field, "do not exist", remedy)
    with parsed(path, field, "are damaged", remedy), safe_open(path, framework) as file:
        yield file


def _read_array(file, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array of an npz, inflated by zlib-ng: four times faster than zipfile, and loading dominates scoring."""
    if member.file_size > LARGEST:
        raise zipfile.BadZipFile(f"{member.filename} claims {member.file_size / 2**30:.0f} GB")
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
