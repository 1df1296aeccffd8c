"""A file of the user's own that has the name of a package of ours is named."""

import subprocess
import sys
from pathlib import Path

import pytest

from search.doctor.checks import ALONE
from search.doctor.doctor import _machine_facts
from search.doctor.findings import judge
from trainables.errors import InputError
from trainables.model.user_modules import hiding_file, import_folder, import_user_module

ROOT = Path(__file__).resolve().parents[2]
AS_INSTALLED = """
import sys
sys.meta_path[:] = [one for one in sys.meta_path if "editable" not in str(one).lower()]
"""
"""Takes away what finds the modules of an editable installation, one by one: to it nothing hides
a package."""


@pytest.mark.parametrize("name", ["search", "trainables", "search.py", "trainables.py"])
def test_a_folder_with_something_of_our_names_hides_ours(tmp_path, name):
    assert hiding_file(str(tmp_path)) is None

    (tmp_path / name).mkdir()

    assert hiding_file(str(tmp_path)) == str(tmp_path / name)


def test_the_folder_of_our_own_packages_and_none_at_all_hide_nothing(tmp_path):
    assert hiding_file(str(ROOT)) is None
    assert hiding_file("") is None
    assert hiding_file(str(tmp_path / "missing")) is None


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["train.py"], id="script"),
        pytest.param(["-m", "search.cli.main"], id="module"),
    ],
)
@pytest.mark.parametrize("name", ["trainables.py", "trainables/__init__.py"])
def test_what_hides_a_package_from_a_script_is_named_with_what_to_do(tmp_path, name, arguments):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("x = 1\n")
    (tmp_path / "train.py").write_text("import search\n")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(AS_INSTALLED)

    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.stderr.splitlines()[-1] == (
        f"ImportError: {file} hides the package 'trainables' of twohead-search: rename it, or "
        "start Python with -P"
    )


def test_doctor_names_what_hides_the_package_from_scripts_that_are_started_here(
    tmp_path, monkeypatch
):
    imports = [check for check in ALONE if check.name == "imports"]
    monkeypatch.chdir(tmp_path)

    assert judge(imports, _machine_facts("")) == []
    (tmp_path / "search.py").write_text("")
    (found,) = judge(imports, _machine_facts(""))

    assert found.state == "warn"
    assert str(tmp_path / "search.py") in found.seen
    assert found.cures == (f"Rename {tmp_path / 'search.py'}, or start Python with -P",)


def test_a_model_in_a_module_of_our_name_is_refused_with_both_files(tmp_path):
    import search

    (tmp_path / "search.py").write_text("def build(*, image_shape, heads): ...\n")

    with import_folder(str(tmp_path)), pytest.raises(InputError) as caught:
        import_user_module("search")

    assert str(search.__file__) in str(caught.value)
    assert f"rename your own module, {tmp_path / 'search.py'}" in str(caught.value)
