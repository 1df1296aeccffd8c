"""A user's own modules: where they are found, and when they are imported anew."""

import importlib
import os
import sys
from types import ModuleType

import pytest

from search.study.study import Study
from trainables.errors import InputError
from trainables.model import user_modules as imports
from trainables.model.user_model import load_function
from trainables.model.user_modules import import_folder


def write_module(folder, text, name="twin_models.py"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return str(folder)


TWIN = "from twin_parts import NUMBER\ndef build(*, image_shape, heads): return {}, NUMBER\n"


@pytest.fixture
def twins(tmp_path):
    """Give two folders that have a module of the same name, with a helper of the same name."""
    names = {"one": 1, "two": 2}
    for name, number in names.items():
        write_module(tmp_path / name, f"NUMBER = {number}0\n", "twin_parts.py")
        write_module(tmp_path / name, TWIN.format(number))
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in ("twin_models", "twin_parts"):
        sys.modules.pop(name, None)


def call_twin(folder):
    with import_folder(str(folder)):
        return load_function("twin_models:build")(image_shape=None, heads=())


def test_a_module_comes_from_the_studys_folder_whatever_was_imported_before(twins):
    results = [call_twin(twins / name) for name in ("one", "two", "one")]

    assert results == [(1, 10), (2, 20), (1, 10)]
    assert str(twins / "one") not in sys.path


def test_a_module_that_others_imported_from_elsewhere_is_not_taken(twins, monkeypatch):
    monkeypatch.syspath_prepend(str(twins / "one"))
    importlib.import_module("twin_models")

    assert call_twin(twins / "two") == (2, 20)


@pytest.mark.parametrize("name", ["twin_models.py", "twin_parts.py"])
def test_a_module_is_imported_anew_once_its_file_or_its_helpers_changed(twins, name):
    folder = twins / "one"
    assert call_twin(folder) == (1, 10)
    file = folder / name
    file.write_text(file.read_text().replace("1", "7"))
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))

    assert call_twin(folder) in {(7, 10), (1, 70)}


def test_a_module_that_has_not_changed_is_imported_once(twins):
    with import_folder(str(twins / "one")):
        first, second = (load_function("twin_models:build") for _ in range(2))

    assert first is second


@pytest.mark.parametrize("name", ["colorsys", "numpy", "trainables"])
def test_a_module_that_is_not_the_users_is_never_dropped(tmp_path, name):
    loaded = importlib.import_module(name)
    folder = write_module(tmp_path, "def build(*, image_shape, heads): pass\n", f"{name}.py")

    with import_folder(folder), pytest.raises(InputError, match="rename your own module"):
        load_function(f"{name}:build")

    assert sys.modules[name] is loaded


def make_study(**changes):
    heads = {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}}
    return Study(name="digits", data="digits.parquet", heads=heads, **changes)


@pytest.mark.parametrize("file", ["own_models.py", "own_models/__init__.py", "own_models/sub.py"])
def test_a_users_module_is_found_where_python_would_without_importing_it(
    file, tmp_path, monkeypatch
):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))

    study = make_study(model="own_models.sub:build")

    assert study.module_folder == str(tmp_path)
    assert "own_models" not in sys.modules
    assert make_study(model="own_models:build", module_folder="/m").module_folder == "/m"
    assert make_study().module_folder is None


@pytest.mark.parametrize("name", ["__main__", "no_such_module", "json", "numpy", "sys", "search"])
def test_a_module_that_is_not_in_a_users_folder_gives_none(name):
    assert make_study(model=f"{name}:build").module_folder is None


def test_a_module_without_a_spec_gives_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "odd_module", ModuleType("odd_module"))

    assert make_study(model="odd_module:build").module_folder is None


def test_a_folder_of_a_job_is_found_where_the_process_was_started(tmp_path, monkeypatch):
    (tmp_path / "own-code").mkdir()
    (tmp_path / "own-code" / "sent_module.py").write_text("PLACE = __file__")
    monkeypatch.setattr(imports, "_STARTED_IN", str(tmp_path))
    monkeypatch.chdir("/")

    with imports.import_folder("job://own-code"):
        place = imports.import_user_module("sent_module").PLACE

    assert place == str(tmp_path / "own-code" / "sent_module.py")
    assert imports.real_folder("job://not-sent") == str(tmp_path)
    assert imports.real_folder("/other") == "/other"
    assert imports.real_folder(None) is None
