"""A file system in memory that remembers what a power cut would leave of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from trainables.storage.local import LocalFiles

POWER_CUTS = ("names_lost", "content_lost", "mixed")
"""What a power cut takes: unsynced names; unsynced content; some of both, drawn by seed."""


@dataclass
class Inode:
    """A file (``data``) or a folder (``entries``): as processes see it, and as the disk has it."""

    is_folder: bool
    data: bytes = b""
    durable_data: bytes | None = None
    entries: dict[str, int] = field(default_factory=dict)
    durable_entries: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Inode:
        return replace(
            self, entries=dict(self.entries), durable_entries=dict(self.durable_entries)
        )


Disk = dict[int, Inode]


def empty_disk() -> Disk:
    return {0: Inode(is_folder=True)}


def copy_disk(disk: Disk) -> Disk:
    return {number: inode.copy() for number, inode in disk.items()}


def after_power_cut(disk: Disk, how: str, seed: int = 0) -> Disk:
    """Return what is on the disk when the machine starts again."""
    draw = random.Random(seed)
    after = {}
    for number, inode in disk.items():
        if inode.is_folder:
            entries = _surviving_names(inode, how, draw)
            after[number] = Inode(is_folder=True, entries=entries, durable_entries=dict(entries))
        else:
            data = _surviving_content(inode, how, draw)
            after[number] = Inode(is_folder=False, data=data, durable_data=data)
    return after


def _surviving_names(inode: Inode, how: str, draw: random.Random) -> dict[str, int]:
    if how == "names_lost":
        return dict(inode.durable_entries)
    if how == "content_lost":
        return dict(inode.entries)
    entries = {}
    for name in sorted(inode.entries.keys() | inode.durable_entries.keys()):
        versions = {inode.entries.get(name), inode.durable_entries.get(name)}
        found = draw.choice(sorted(versions, key=str))
        if found is not None:
            entries[name] = found
    return entries


def _surviving_content(inode: Inode, how: str, draw: random.Random) -> bytes:
    if inode.durable_data == inode.data:
        return inode.data
    torn = inode.data[: len(inode.data) // 2]
    lost = inode.durable_data or b""
    return draw.choice([torn, lost, inode.data]) if how == "mixed" else torn


class MemoryFiles(LocalFiles):
    """The seam of a local store over a `Disk`; calls ``watch`` before each change.

    ``watch(operation)`` may copy the disk or raise; it is also called in the middle of each
    write, as ``"torn write"``.
    """

    def __init__(self, disk: Disk, watch: Callable[[str], None] = lambda operation: None) -> None:
        self.disk = disk
        self.watch = watch
        self.before_scan: Callable[[], None] = lambda: None
        self._handles: dict[int, int] = {}

    def create(self, path: str) -> int:
        self.watch("create")
        folder, name = self._parent(path)
        if name in folder.entries:
            raise FileExistsError(17, "exists", path)
        inode = self._new(Inode(is_folder=False))
        folder.entries[name] = inode
        handle = max(self._handles, default=0) + 1
        self._handles[handle] = inode
        return handle

    def write(self, handle: int, data: memoryview) -> int:
        inode = self.disk[self._handles[handle]]
        self.watch("write")
        half = len(data) // 2
        inode.data += bytes(data[:half])
        self.watch("torn write")
        inode.data += bytes(data[half:])
        return len(data)

    def sync(self, handle: int) -> None:
        self.watch("sync")
        inode = self.disk[self._handles[handle]]
        inode.durable_data = inode.data

    def close(self, handle: int) -> None:
        del self._handles[handle]

    def rename(self, source: str, target: str) -> None:
        self.watch("rename")
        folder, name = self._parent(source)
        if name not in folder.entries:
            raise FileNotFoundError(2, "absent", source)
        target_folder, target_name = self._parent(target)
        target_folder.entries[target_name] = folder.entries.pop(name)

    def link(self, source: str, target: str) -> None:
        self.watch("link")
        folder, name = self._parent(target)
        if name in folder.entries:
            raise FileExistsError(17, "exists", target)
        folder.entries[name] = self._find(source)

    def same(self, first: str, second: str) -> bool:
        return self._find(first) == self._find(second)

    def remove(self, path: str) -> None:
        self.watch("remove")
        folder, name = self._parent(path)
        if name not in folder.entries:
            raise FileNotFoundError(2, "absent", path)
        if self.disk[folder.entries[name]].is_folder:
            raise IsADirectoryError(21, "a folder", path)
        del folder.entries[name]

    def make_folder(self, path: str) -> None:
        self.watch("make_folder")
        folder, name = self._parent(path)
        if name in folder.entries:
            raise FileExistsError(17, "exists", path)
        folder.entries[name] = self._new(Inode(is_folder=True))

    def remove_folder(self, path: str) -> None:
        self.watch("remove_folder")
        assert not self.disk[self._find(path)].entries, "only an empty folder can be removed"
        folder, name = self._parent(path)
        del folder.entries[name]

    def sync_folder(self, path: str) -> None:
        inode = self.disk[self._find(path)]
        self.watch("sync_folder")
        inode.durable_entries = dict(inode.entries)

    def read(self, path: str, most: int) -> bytes:
        inode = self.disk[self._find(path)]
        if inode.is_folder:
            raise IsADirectoryError(21, "a folder", path)
        return inode.data

    def scan(self, path: str) -> list[tuple[str, bool]]:
        self.before_scan()
        inode = self.disk[self._find(path)]
        if not inode.is_folder:
            raise NotADirectoryError(20, "no folder", path)
        return [(name, self.disk[number].is_folder) for name, number in inode.entries.items()]

    def refuse_link(self, path: str) -> bool:
        return self.exists(path)  # there are no links here

    def exists(self, path: str) -> bool:
        try:
            self._find(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def size(self, path: str) -> int:
        return len(self.disk[self._find(path)].data)

    def tree(self, folder: str = "/") -> list[str]:
        """Return the paths of all files, temporary ones too."""
        found = []
        for name, is_folder in self.scan(folder):
            path = f"{folder.rstrip('/')}/{name}"
            found.extend(self.tree(path) if is_folder else [path])
        return sorted(found)

    def _new(self, inode: Inode) -> int:
        number = max(self.disk) + 1
        self.disk[number] = inode
        return number

    def _find(self, path: str) -> int:
        number = 0
        for part in path.strip("/").split("/"):
            if part:
                inode = self.disk[number]
                if not inode.is_folder:
                    raise NotADirectoryError(20, "no folder", path)
                if part not in inode.entries:
                    raise FileNotFoundError(2, "absent", path)
                number = inode.entries[part]
        return number

    def _parent(self, path: str) -> tuple[Inode, str]:
        folder, _, name = path.rpartition("/")
        inode = self.disk[self._find(folder)]
        if not inode.is_folder:
            raise NotADirectoryError(20, "no folder", path)
        return inode, name
