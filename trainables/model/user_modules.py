"""Finds a user's own modules in the folder of the study's file, and anew where they changed."""

import importlib
import os
import site
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import cache_from_source, find_spec
from types import ModuleType

from trainables.errors import InputError
from trainables.model.keras_home import settle_keras

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


try:
    _STARTED_IN = os.getcwd()  # before anything that a trial runs could change it
except OSError:  # it was deleted
    _STARTED_IN = "/"

_stamps: dict[str, tuple[str, Stamp]] = {}
"""The user's modules of this process: each one's file as it was when it was imported."""


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
    """Let a user's modules be imported from this folder, before all others; see `real_folder`."""
    folder = real_folder(folder)
    if folder:
        with suppress(ValueError):
            sys.path.remove(folder)
        sys.path.insert(0, folder)


@contextmanager
def import_folder(folder: str | None) -> Iterator[None]:
    """Let a user's modules be imported from this folder, and leave ``sys.path`` as it was."""
    path = list(sys.path)
    add_import_folder(folder)
    try:
        yield
    finally:
        sys.path[:] = path


def hiding_file(folder: str) -> str | None:
    """Return what in a folder Python would import in the place of our packages; None if nothing.

    A script's own folder, and the current one, come before all others on ``sys.path``.
    """
    if not os.path.isdir(folder) or os.path.samefile(folder, _OURS):
        return None
    names = (name + ending for name in _OUR_NAMES for ending in (".py", ""))
    paths = (os.path.join(folder, name) for name in names)
    return next((path for path in paths if os.path.exists(path)), None)


def import_user_module(name: str) -> ModuleType:
    """Import a user's module as a fresh process would: from its folder, as the file is now.

    Trials and probes are fresh processes; a notebook, which builds the model of a result, is
    not. Where a module of that name, or another that lies in its folder, came from elsewhere or
    was changed since it was imported, all of the user's modules are imported anew. Modules of
    Python, of installed packages and of this program are never dropped.
    """
    top = name.partition(".")[0]
    _refuse_taken_name(top)
    own = _own_modules(top)
    if any(_is_outdated(each) for each in own):
        for each in own:
            _drop(each)
    importlib.invalidate_caches()
    settle_keras()  # the module may be the first to import Keras
    module = importlib.import_module(name)
    note_user_modules(name)
    return module


def note_user_modules(name: str) -> None:
    """Remember the files of the user's modules as they are, to tell later what has changed."""
    for each in _own_modules(name.partition(".")[0]):
        file, stamp = _file_and_stamp(each)
        if stamp and _stamps.get(each, ("",))[0] != file:
            _stamps[each] = file, stamp


def user_folder_of(name: str) -> str | None:
    """Return the folder that a user's module is found in on ``sys.path``; nothing is imported.

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


def _refuse_taken_name(top: str) -> None:
    loaded = sys.modules.get(top)
    spec = PathFinder.find_spec(top)
    if loaded is None or spec is None or _is_users(top) or not _is_moved(top, spec):
        return
    own = f", {spec.origin}" if spec.origin else ""
    raise InputError(
        f"model needs a module of a name that is not taken, got {top!r}, which is "
        f"{_file_of(loaded) or 'built into Python'} in this process: rename your own module{own}"
    )


def _own_modules(top: str) -> list[str]:
    """Return what is loaded of the user's: a module with its folder's others, and noted ones."""
    spec = PathFinder.find_spec(top)
    # Where it is linked from, too: what a linked file imports may lie beside the link.
    found = (spec.submodule_search_locations or [spec.origin or ""]) if spec else []
    places = [*map(str, found), *(_places(spec) if spec else ())]
    folders = [os.path.dirname(place) for place in places if place]
    known = {top, *(name.partition(".")[0] for name in _stamps)}
    users = [name for name in list(sys.modules) if _is_users(name)]
    tops = {name for name in users if name in known or _lies_in(name, folders)}
    return [name for name in list(sys.modules) if name.partition(".")[0] in tops]


def _is_users(top: str) -> bool:
    module = sys.modules.get(top)
    if module is None or "." in top or top == "__main__":
        return False
    places = _places_of_module(module)
    return bool(places) and not any(_is_library(top, place) for place in places)


def _is_library(top: str, place: str) -> bool:
    real = os.path.realpath(place)
    if top in _OUR_NAMES and os.path.dirname(real) == _OURS:
        return True
    return real.startswith(_LIBRARIES) or "site-packages" in real.split(os.sep)


def _lies_in(top: str, folders: list[str]) -> bool:
    # A folder without an __init__.py is a package only if nothing else has the name.
    spec = PathFinder.find_spec(top, folders)
    return spec is not None and spec.origin is not None


def _is_moved(top: str, spec: ModuleSpec) -> bool:
    """Tell whether a fresh process would import another module of that name."""
    return not set(_places(spec)) <= set(_places_of_module(sys.modules[top]))


def _is_outdated(name: str) -> bool:
    spec = None if "." in name else PathFinder.find_spec(name)
    if spec is not None and _is_moved(name, spec):
        return True
    file, stamp = _file_and_stamp(name)
    if name in _stamps:
        return _stamps[name] != (file, stamp)
    return stamp is not None and stamp[0] > _LOADED_AT_NS  # of others: we cannot tell when


def _drop(name: str) -> None:
    """Forget a module, and its bytecode, which is told from the source by whole seconds."""
    file = _file_of(sys.modules.pop(name))
    _stamps.pop(name, None)
    if file and file.endswith(".py"):
        with suppress(OSError, NotImplementedError):
            os.unlink(cache_from_source(file))


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


def _file_and_stamp(name: str) -> tuple[str, Stamp | None]:
    """Return the file of a loaded module, and what it is like now; no stamp without one."""
    file = _file_of(sys.modules[name]) or ""
    try:
        found = os.stat(file)
    except OSError:
        return file, None
    return file, (found.st_mtime_ns, found.st_size)
