"""A remote storage in memory that fails as it is told: once, for a while, or for good."""

from collections.abc import Callable
from typing import Any

from pyarrow import fs

from tests.support.clocks import FakeClock
from trainables.storage.retry import Retrying
from trainables.storage.store import Store

MUTATING = ("write", "delete_file", "delete_dir", "create_dir")
URI = "faulty://bucket/digits"


class FaultyHandler(fs.FileSystemHandler):  # type: ignore[misc] # pyarrow is not typed
    """Objects as on S3: no folders, whole or not there. ``fault(operation)`` may raise.

    It is asked before each call, and after each one that changes something, when the change is
    done and only its answer gets lost.
    """

    def __init__(self, fault: Callable[[str], None] = lambda operation: None) -> None:
        self.objects: dict[str, bytes] = {}
        self.fault = fault

    def get_type_name(self) -> str:
        return "faulty"

    def normalize_path(self, path: str) -> str:
        return path

    def __eq__(self, other: object) -> bool:
        return self is other

    def get_file_info(self, paths: list[str]) -> list[Any]:
        self.fault("look up")
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        self.fault("list")
        prefix = f"{selector.base_dir}/"
        return [self._info(path) for path in self.objects if path.startswith(prefix)]

    def open_input_stream(self, path: str) -> Any:
        import pyarrow

        self.fault("read")
        if path not in self.objects:
            raise FileNotFoundError(2, "no such object", path)
        return pyarrow.PythonFile(pyarrow.BufferReader(self.objects[path]), mode="r")

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        import io

        import pyarrow

        handler = self

        class Upload(io.BytesIO):
            def close(self) -> None:
                if not self.closed:
                    data = self.getvalue()
                    super().close()
                    handler.change("write", lambda: handler.objects.update({path: data}))

        return pyarrow.PythonFile(Upload(), mode="w")

    def delete_file(self, path: str) -> None:
        if path not in self.objects:
            self.fault("delete")
            raise FileNotFoundError(2, "no such object", path)
        self.change("delete", lambda: self.objects.pop(path))

    def delete_dir(self, path: str) -> None:
        for name in [name for name in self.objects if name.startswith(f"{path}/")]:
            self.change("delete", lambda name=name: self.objects.pop(name))

    def change(self, operation: str, act: Callable[[], object]) -> None:
        self.fault(operation)
        act()
        self.fault(f"answer to {operation}")

    def _info(self, path: str) -> Any:
        if path in self.objects:
            return fs.FileInfo(path, fs.FileType.File, size=len(self.objects[path]))
        is_folder = any(name.startswith(f"{path}/") for name in self.objects)
        return fs.FileInfo(path, fs.FileType.Directory if is_folder else fs.FileType.NotFound)

    def _never(self, *_: Any) -> Any:
        raise NotImplementedError

    create_dir = delete_dir_contents = delete_root_dir_contents = move = _never
    copy_file = open_input_file = open_append_stream = _never


def faulty_store(handler: FaultyHandler, clock: FakeClock | None = None, **changes: Any) -> Store:
    """Return the study's folder on such a storage, as a process of its own sees it."""
    clock = clock or FakeClock()
    retrying = Retrying(clock=clock.uptime, sleep=clock.sleep, **changes)
    return Store(URI, filesystem=fs.PyFileSystem(handler), retrying=retrying)
