"""Finds a user's own modules in the folder of the study's file, and anew where they changed."""

import importlib
import os
import site
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import cache_from_source, find_spec
from types import ModuleType
from typing import Any

from trainables.errors import InputError

Stamp = tuple[int, int]
"""A file's time of change in nanoseconds and its size in bytes."""

JOB = "job://"
"""Begins the name of a folder among a cluster job's own files. Ray unpacks them on every node,
under a path that may differ, and starts each process of the job in its copy."""

_LOADED_AT_NS = time.time_ns()
_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
_OUR_NAMES = ("search", "trainables")
_LIBRARIES = tuple(
    os.path.realpath(path) + os.sep
    for path in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    }
)


def _started_in() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return "/"


_STARTED_IN = _started_in()  # before anything that a trial runs could change it


class _Found:
    """What this process knows of the user's modules."""

    folder: str | None = None
    was_on_path: bool = False
    stamps: dict[str, tuple[str, Stamp]] = {}  # noqa: RUF012 - one per process


def real_folder(folder: str | None) -> str | None:
    """Return where a folder lies for this process.

    ``job://NAME`` is resolved against the folder that the process was started in; outside a
    job, where there is no such folder, it is that one itself: a user who stands among the
    modules that were sent can load a study's models.
    """
    if folder is None or not folder.startswith(JOB):
        return folder
    sent = os.path.join(_STARTED_IN, folder.removeprefix(JOB))
    return sent if os.path.isdir(sent) else _STARTED_IN


def add_import_folder(folder: str | None) -> None:
    """Let a user's modules be imported from this folder, before all others.

    The folder given before goes from ``sys.path``, unless it was there already. See
    `real_folder` for one of a job.
    """
    folder = real_folder(folder)
    if _Found.folder and not _Found.was_on_path:
        _remove_from_path(_Found.folder)
    _Found.folder = folder or None
    if folder:
        _Found.was_on_path = folder in sys.path
        _remove_from_path(folder)
        sys.path.insert(0, folder)


@contextmanager
def import_folder(folder: str | None) -> Iterator[None]:
    """Let a user's modules be imported from this folder, and leave ``sys.path`` as it was."""
    path, before = list(sys.path), (_Found.folder, _Found.was_on_path)
    add_import_folder(folder)
    try:
        yield
    finally:
        sys.path[:] = path
        _Found.folder, _Found.was_on_path = before


def hiding_file(folder: str) -> str | None:
    """Return what in a folder Python would import in the place of our packages; None if nothing.

    A script's own folder, and the current one, come before all others on ``sys.path``.
    """
    if not os.path.isdir(folder) or os.path.samefile(folder, _OURS):
        return None
    names = (name + ending for name in _OUR_NAMES for ending in (".py", ""))
    paths = (os.path.join(folder, name) for name in names)
    return next((path for path in paths if os.path.exists(path)), None)


def import_function(target: str) -> Callable[..., Any]:
    """Return what ``package.module:function`` names, of the program's own modules."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def import_user_module(name: str) -> ModuleType:
    """Import a user's module as a fresh process would: from its folder, as the file is now.

    Where a module of that name, or another that lies in the folder, came from elsewhere or
    was changed since it was imported, all of the user's modules are imported anew. Modules of
    Python, of installed packages and of this program are never dropped.

    Raises:
        InputError: If one of those has the name of the user's module.
    """
    top = name.partition(".")[0]
    _refuse_taken_name(top)
    tops = _user_tops(top)
    if any(_is_moved(each) or _is_changed(each) for each in tops):
        for module_name in [each for top in tops for each in _family(top)]:
            _drop(module_name)
    importlib.invalidate_caches()
    module = importlib.import_module(name)
    note_user_modules(name)
    return module


def note_user_modules(name: str) -> None:
    """Remember the files of the user's modules as they are, to tell later what has changed."""
    for top in _user_tops(name.partition(".")[0]):
        for module_name in _family(top):
            file = _file_of(sys.modules[module_name])
            stamp = file and _stamp(file)
            if file and stamp and _Found.stamps.get(module_name, ("",))[0] != file:
                _Found.stamps[module_name] = (file, stamp)


def user_folder_of(name: str) -> str | None:
    """Return the folder that a user's module is found in on ``sys.path``; nothing is imported.

    Returns:
        None if there is no such module, or it is installed, or it lies in several folders.
    """
    top = name.partition(".")[0]
    if top == "__main__":
        return None
    try:
        spec = PathFinder.find_spec(top) or find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    places = _places(spec) if spec else ()
    if len(places) != 1 or _is_library(top, places[0]):
        return None
    return os.path.dirname(places[0])


def _remove_from_path(folder: str) -> None:
    with suppress(ValueError):
        sys.path.remove(folder)


def _refuse_taken_name(top: str) -> None:
    loaded = sys.modules.get(top)
    if loaded is None or _is_users(top) or not _is_moved(top):
        return
    spec = _spec_in_folder(top)
    own = f", {spec.origin}" if spec is not None else ""
    raise InputError(
        f"model needs a module of a name that is not taken, got {top!r}, which is "
        f"{_file_of(loaded) or 'built into Python'} in this process: rename your own module{own}"
    )


def _user_tops(target_top: str) -> list[str]:
    """Return the loaded top modules that are the target's or its folder's, and the user's."""
    noted = {name.partition(".")[0] for name in _Found.stamps}
    return [
        name
        for name in list(sys.modules)
        if "." not in name
        and _is_users(name)
        and (name == target_top or name in noted or _spec_in_folder(name) is not None)
    ]


def _is_users(top: str) -> bool:
    module = sys.modules.get(top)
    if module is None or top == "__main__":
        return False
    places = _places_of_module(module)
    return bool(places) and not any(_is_library(top, place) for place in places)


def _is_library(top: str, place: str) -> bool:
    real = os.path.realpath(place)
    if top in _OUR_NAMES and os.path.dirname(real) == _OURS:
        return True
    return real.startswith(_LIBRARIES) or "site-packages" in real.split(os.sep)


def _is_moved(top: str) -> bool:
    """Tell whether a fresh process would import another module of that name."""
    spec = _spec_in_folder(top) or PathFinder.find_spec(top)
    if spec is None:
        return False
    return not set(_places(spec)) <= set(_places_of_module(sys.modules[top]))


def _is_changed(top: str) -> bool:
    for name in _family(top):
        file = _file_of(sys.modules[name])
        if not file:
            continue
        stamp = _stamp(file)
        if name in _Found.stamps:
            if _Found.stamps[name] != (file, stamp):
                return True
        elif stamp and stamp[0] > _LOADED_AT_NS:  # imported by others, we cannot tell when
            return True
    return False


def _family(top: str) -> list[str]:
    return [
        name
        for name, module in list(sys.modules.items())
        if (name == top or name.startswith(f"{top}.")) and module is not None
    ]


def _drop(name: str) -> None:
    """Forget a module, and its bytecode, which is told from the source by whole seconds."""
    file = _file_of(sys.modules.pop(name))
    _Found.stamps.pop(name, None)
    if file and file.endswith(".py"):
        with suppress(OSError, NotImplementedError):
            os.unlink(cache_from_source(file))


def _spec_in_folder(top: str) -> ModuleSpec | None:
    if not _Found.folder:
        return None
    spec = PathFinder.find_spec(top, [_Found.folder])
    # A folder without an __init__.py is a package only if nothing else has the name.
    return spec if spec is not None and spec.origin else None


def _places(spec: ModuleSpec) -> tuple[str, ...]:
    """Return the file of a module, or the folder(s) of a package."""
    if spec.submodule_search_locations is not None:
        return tuple(os.path.realpath(place) for place in spec.submodule_search_locations)
    return (os.path.realpath(spec.origin),) if spec.origin and spec.has_location else ()


def _places_of_module(module: ModuleType) -> tuple[str, ...]:
    folders = getattr(module, "__path__", None)
    file = _file_of(module)
    try:
        found = list(folders) if folders is not None else [file] if file else []
    except Exception:  # a lazy stand-in of a library's own
        return ()
    return tuple(os.path.realpath(place) for place in found if isinstance(place, str))


def _file_of(module: ModuleType) -> str | None:
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return os.path.abspath(file) if isinstance(file, str) else None


def _stamp(file: str) -> Stamp | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
