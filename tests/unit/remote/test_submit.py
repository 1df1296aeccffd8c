import io
import zipfile

import pytest

from search.errors import InputError
from search.remote import submit as own_code
from search.remote.submit import folder_of_model, pack


def names(package):
    return zipfile.ZipFile(io.BytesIO(package[0])).namelist()


def write(folder, *paths, text="x = 1"):
    for path in paths:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def test_modules_go_along_and_nothing_that_is_hidden_made_or_data(tmp_path):
    write(tmp_path, "net.py", "parts/blocks.py", "parts/names.json", "notes.txt")
    write(tmp_path, ".env", ".git/config", "__pycache__/net.pyc", "old.pyc", "venv/pyvenv.cfg")
    write(tmp_path, "venv/lib/site.py", "images/a.png", "d.parquet", "aws.pem", "x.egg-info/PKG")
    write(tmp_path, "studies/digits/study.json", "studies/digits/log/1.json", "rows/part-0")
    write(tmp_path, "mine/study.json")

    package = pack("{}", str(tmp_path), apart_from=(str(tmp_path / "rows"), "s3://b/data"))

    code = [f"own-code/{name}" for name in ("mine/study.json", "net.py", "notes.txt")]
    assert names(package) == [
        "study.json",
        *code,
        "own-code/parts/blocks.py",
        "own-code/parts/names.json",
    ]
    assert package[1] == 5


def test_a_study_without_modules_of_its_own_is_sent_alone():
    assert names(pack("{}", None)) == ["study.json"]


def test_the_same_files_make_the_same_package_whatever_their_dates(tmp_path):
    write(tmp_path / "a", "net.py")
    one = pack("{}", str(tmp_path / "a"))
    write(tmp_path / "b", "net.py")

    assert pack("{}", str(tmp_path / "b")) == one
    assert pack("{ }", str(tmp_path / "a")) != one


def test_what_is_too_large_is_refused_with_the_largest_files(tmp_path, monkeypatch):
    monkeypatch.setattr(own_code, "MOST_BYTES", 3 * 2**20)
    write(tmp_path, "net.py")
    write(tmp_path, "weights/big.bin", text="w" * 2**21)
    write(tmp_path, "half.bin", text="w" * (2**20 + 2**19))

    with pytest.raises(InputError, match=r"at most 3 MiB to be sent, got 3\.5 MiB") as caught:
        pack("{}", str(tmp_path))
    assert "weights/big.bin (2.0 MiB), half.bin (1.5 MiB), net.py" in str(caught.value)
    assert "name that as module_folder" in str(caught.value)


def test_what_is_too_large_even_packed_is_refused_too(tmp_path, monkeypatch):
    write(tmp_path, "net.py")
    monkeypatch.setattr(own_code, "MOST_BYTES", 10)

    with pytest.raises(InputError, match="the largest files are net"):
        pack("{}", str(tmp_path))


def test_a_folder_of_too_many_files_is_refused_before_all_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(own_code, "MOST_FILES", 3)
    write(tmp_path, *(f"m{n}.py" for n in range(5)))

    with pytest.raises(InputError, match="needs at most 3 files, got more in "):
        pack("{}", str(tmp_path))


@pytest.mark.parametrize("file", ["net.py", "net/__init__.py"])
def test_the_modules_of_a_stored_study_are_taken_from_the_folder_named(tmp_path, file):
    write(tmp_path, file)

    assert folder_of_model("net:build", str(tmp_path)) == str(tmp_path)


def test_a_stored_study_whose_module_is_not_here_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"its module 'gone_net\.models' in the current"):
        folder_of_model("gone_net.models:build", str(tmp_path))
