"""Folders on disk and folders inside a zip behind the same three calls; nothing is ever extracted."""

import io
import os
import re
import stat
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from pisa_kit.core.checks import check
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import LARGEST, disk, parsed, read_bytes


class NamedBytes(io.BytesIO):
    """A file in memory that knows the name messages should use."""

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.name = name


def label(file) -> str:
    """What messages call a path or an open file."""
    return str(file) if isinstance(file, (str, Path)) else str(getattr(file, "name", file))


@dataclass(frozen=True)
class Folder:
    """A folder: `path` on disk, or the folder `inner` of the zip `path`.

    Args:
        path: the folder, or the zip that holds it.
        inner: path inside the zip with forward slashes ("" is its top); None for a folder on disk.
    """

    path: Path
    inner: str | None = None

    def __str__(self) -> str:
        return str(self.path / self.inner) if self.inner else str(self.path)

    def __truediv__(self, name: str) -> "Folder":
        if self.inner is None:
            return Folder(self.path / name)
        return Folder(self.path, str(PurePosixPath(self.inner) / name))

    @property
    def stem(self) -> str:
        """What the folder is called: its own name, without ".zip" for the top of a zip."""
        return PurePosixPath(self.inner).name if self.inner else self.path.stem if self.inner == "" else self.path.name

    def list(self) -> tuple[list[str], list[str]]:
        """Sorted names of the files and of the folders in here; hidden ones and `__MACOSX` are left out."""
        if self.inner is None:
            entries = [entry for entry in os.scandir(self.path) if _visible(entry.name)]
            files = [entry.name for entry in entries if entry.is_file()]
            folders = [entry.name for entry in entries if entry.is_dir()]
        else:
            files, folders = _open_zip(*_zip_key(self.path)).tree[self.inner]
        return sorted(files), sorted(folders)

    def read(self, name: str) -> NamedBytes:
        """The file `name` in memory.

        Raises:
            InputError: it cannot be read (missing, damaged, encrypted).
        """
        full = str(self / name)
        if self.inner is None:
            return NamedBytes(read_bytes(self.path / name), full)
        with parsed(full):
            archive, member = _open_zip(*_zip_key(self.path)).zip, (self / name).inner
            if archive.getinfo(member).file_size > LARGEST:
                raise zipfile.BadZipFile("claims an impossible size")
            return NamedBytes(archive.read(member), full)


@dataclass(frozen=True)
class _Archive:
    """An open zip and its files and folders by folder."""

    zip: zipfile.ZipFile
    tree: dict[str, tuple[set[str], set[str]]]


def locate(path) -> tuple[Folder, str | None]:
    """The folder that `path` stands for, and the file's name in it when `path` is a file.

    Reaches into archives: "sim.zip/seen/00" is the folder `seen/00` of `sim.zip`, "sim.zip" its top.

    Raises:
        InputError: nothing is there, or it is a broken or unsafe zip.
    """
    path = Path(check(str | Path, path, "arguments", "path"))
    with disk(path, "path", "Check it."):
        return _located(path)


def _located(path: Path) -> tuple[Folder, str | None]:
    if path.is_dir():
        return Folder(path), None
    for archive in (path, *path.parents):
        if archive.suffix.lower() == ".zip" and archive.is_file():
            inner = path.relative_to(archive).as_posix()
            return _locate_inside(archive, "" if inner == "." else inner)
    if path.is_file():
        return Folder(path.parent), path.name
    raise InputError(path, "path", "does not exist", "Check the path.")


def _locate_inside(archive: Path, inner: str) -> tuple[Folder, str | None]:
    tree = _open_zip(*_zip_key(archive)).tree
    if inner in tree:
        return Folder(archive, inner), None
    parent, _, name = inner.rpartition("/")
    if parent in tree and name in tree[parent][0]:
        return Folder(archive, parent), name
    raise InputError(archive, inner, "is not in the archive", f"It holds: {', '.join(sorted(tree[''][1])[:8]) or '-'}.")


def _visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _zip_key(path: Path) -> tuple:
    """What must be unchanged for an opened archive to be used again (the process too: forks share file offsets)."""
    status = path.stat()
    return path, status.st_size, status.st_mtime_ns, os.getpid()


@lru_cache(maxsize=4)
def _open_zip(path: Path, size: int, modified: int, process: int) -> _Archive:
    """Opens a zip and lists it by folder; kept open, because listing the benchmark's archives takes a second."""
    with parsed(path, "archive", "cannot be read as a zip", "Download or write it again."):
        archive = zipfile.ZipFile(path)
        if archive.infolist() and min(member.header_offset for member in archive.infolist()) > 0:
            # What is left of a longer zip: its end is that of a zip within (a mask.npz).
            raise EOFError("it is cut off")
    tree: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    tree[""]
    for member in archive.infolist():
        parts = _check_member(path, member)
        if not all(_visible(part) for part in parts):
            continue
        for depth in range(len(parts)):
            is_file = depth == len(parts) - 1 and not member.is_dir()
            tree["/".join(parts[:depth])][0 if is_file else 1].add(parts[depth])
        if member.is_dir():
            tree["/".join(parts)]
    return _Archive(archive, dict(tree))


def _check_member(archive: Path, member: zipfile.ZipInfo) -> tuple[str, ...]:
    """The parts of a member's path; InputError if it would leave the folder or is a link."""
    name = member.orig_filename
    parts = PurePosixPath(name).parts
    wrong = {
        "is an absolute path": name.startswith("/"),
        "has a backslash or a zero byte in its path": "\\" in name or "\0" in name,
        "starts with a drive letter": re.match(r"[A-Za-z]:", name),
        "leaves the archive's folder through '..'": ".." in parts,
        "is a symbolic link": stat.S_ISLNK(member.external_attr >> 16),
    }
    for problem in filter(wrong.get, wrong):
        raise InputError(archive, f"member {name!r}", problem, "Pack plain files under relative paths.")
    return parts
