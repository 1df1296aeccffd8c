"""No key in a URI is stored, sent or printed: it is refused at every door."""

import json
import os
from pathlib import Path

import pytest

import search
from search.cli.main import main
from search.errors import InputError
from search.remote.questions import _as_text
from search.remote.request import JobRequest
from search.study.study import Study
from search.text import clean
from trainables.spec.problems import shown
from trainables.storage.store import Store
from trainables.storage.uri_keys import check_no_key, without_keys, without_keys_in

WITH_KEYS = [
    pytest.param("s3://KEY:canary@bucket/x", "s3://bucket/x", id="password"),
    pytest.param("s3://canary@bucket/x", "s3://bucket/x", id="key_of_s3"),
    pytest.param("s3://KEY:ca/canary@bucket/x", "s3://bucket/x", id="slash_in_it"),
    pytest.param("s3://KEY:12/canary@bucket/x", "s3://bucket/x", id="as_a_port"),
    pytest.param("s3://KEY:ca?canary@bucket/x", "s3://...", id="question_mark_in_it"),
    pytest.param("s3://KEY:ca#canary@bucket/x", "s3://...", id="hash_in_it"),
    pytest.param("s3:/KEY:canary@bucket/x", "s3:/bucket/x", id="a_slash_too_few"),
    pytest.param("s3://b/x?access_key=canary", "s3://b/x", id="access_key"),
    pytest.param("s3://b/x?region=eu&secret_key=canary", "s3://b/x?region=eu", id="beside_others"),
    pytest.param("s3://b/x?session_token=canary", "s3://b/x", id="session_token"),
    pytest.param("s3://b/x?authorization=canary", "s3://b/x", id="authorization"),
    pytest.param("s3://b/x?pass=canary", "s3://b/x", id="pass"),
    pytest.param("s3://b/x?%73ecret_key=canary", "s3://b/x", id="encoded_name"),
    pytest.param("s3://b/x?X-Amz-Signature=canary", "s3://b/x", id="signed"),
    pytest.param("https://a/b?sv=1&sig=canary", "https://a/b?sv=1", id="sas"),
    pytest.param("abfs://c:canary@a.net/x", "abfs://a.net/x", id="azure"),
    pytest.param("abfs://c@a.net/x?client_secret=canary", "abfs://c@a.net/x", id="client"),
    pytest.param("hdfs://me:canary@host:8020/x", "hdfs://host:8020/x", id="hdfs"),
    pytest.param("s3://b/x?endpoint_override=u:canary@h:9000", "s3://b/x", id="in_an_option"),
]
WITHOUT = [
    "/data/x?sig=1",
    "studies",
    "file:///a/b",
    "s3://bucket/x@2?region=eu-central-1&endpoint_override=h:9000",
    "s3://[::1]:9000/x",
    "abfs://container@account.dfs.core.windows.net/x?credential_kind=cli",
    "hdfs://me@host:8020/x",
]


@pytest.mark.parametrize(("uri", "without"), WITH_KEYS)
def test_a_uri_with_a_key_is_refused_without_repeating_it(uri, without):
    with pytest.raises(InputError, match=r"^data needs a URI without a password or key") as caught:
        check_no_key("data", uri)

    assert "canary" not in str(caught.value)
    assert without_keys(uri) == without


@pytest.mark.parametrize("uri", WITHOUT)
def test_a_uri_without_a_key_passes_as_it_is(uri):
    check_no_key("data", uri)

    assert without_keys(uri) == uri


@pytest.mark.parametrize(("uri", "without"), WITH_KEYS)
def test_no_text_that_is_shown_holds_a_key(uri, without):
    told = f"cannot read '{uri}', see http://127.0.0.1:8265, or {uri}."

    assert "canary" not in clean(told) + shown({"data": uri}) + without_keys_in(told)
    assert "see http://127.0.0.1:8265," in clean(told)


def test_other_text_is_shown_as_it_is():
    text = "needs <host>:<port> such as http://<host>:<port>, got ssh://me@host:22/x, me:a@b."

    assert clean(text) == text


DOORS = [
    pytest.param(lambda uri: study(data=uri), id="data"),
    pytest.param(lambda uri: study(storage=uri), id="storage"),
    pytest.param(lambda uri: study(warm_start=[uri]), id="warm_start"),
    pytest.param(lambda uri: study(warm_start=uri), id="warm_start_as_text"),
    pytest.param(lambda uri: study(model=uri), id="model"),
    pytest.param(lambda uri: search.load(uri), id="load"),
    pytest.param(lambda uri: search.confirm(uri), id="confirm"),
    pytest.param(lambda uri: search.connect("127.0.0.1:1", storage=uri), id="connect"),
    pytest.param(lambda uri: search.run(uri), id="run"),
    pytest.param(lambda uri: Store(uri), id="store"),
    pytest.param(lambda uri: _as_text({"options": {"arguments": {"folder": uri}}}), id="question"),
]


def study(**changes):
    return Study(**{"name": "s", "data": "d.parquet", "heads": {"c": {"kind": "box"}}, **changes})


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "uri",
    ["s3://KEY:canary@bucket/x", "s3://bucket/x?access_key=K&secret_key=canary"],
    ids=["user", "option"],
)
def test_every_door_of_the_api_refuses_a_key_and_repeats_none(door, uri):
    with pytest.raises(InputError) as caught:
        door(uri)

    error: BaseException | None = caught.value
    while error is not None:
        assert "canary" not in f"{error}{error!r}"
        error = error.__cause__


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(["run", "{file}"], id="run_file"),
        pytest.param(["run", "--storage", "{uri}"], id="run_storage"),
        pytest.param(["run", "{uri}"], id="run_uri"),
        pytest.param(["run", "--storag", "{uri}"], id="misspelt"),
        pytest.param(["resume", "{uri}"], id="resume"),
        pytest.param(["best", "{uri}"], id="best"),
        pytest.param(["show", "{uri}", "--json"], id="show"),
        pytest.param(["confirm", "{uri}"], id="confirm"),
        pytest.param(["list", "{uri}"], id="list"),
        pytest.param(["data", "check", "{file}"], id="data_check"),
        pytest.param(["doctor", "--storage", "{uri}"], id="doctor"),
        pytest.param(["submit", "{file}", "--address", "127.0.0.1:1"], id="submit"),
        pytest.param(["best", "{uri}", "--traceback"], id="traceback"),
    ],
)
def test_no_command_prints_or_stores_a_key(argv, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    uri = "s3://KEY:canary@bucket/x?region=eu&session_token=canary"
    file = tmp_path / "study.yaml"
    file.write_text(f"name: s\ndata: {uri}\nheads: {{c: {{kind: box}}}}\n")

    status = main([word.format(uri=uri, file=file) for word in argv])

    file.unlink()
    printed = "".join(capsys.readouterr())
    assert status in (1, 2)
    assert printed.strip()
    assert "canary" not in printed
    assert "canary" not in names_and_contents(tmp_path)


def names_and_contents(folder: Path) -> str:
    found = [Path(top) / name for top, _, names in os.walk(folder) for name in names]
    return " ".join(f"{path} {path.read_bytes()!r}" for path in found)


def test_a_request_to_a_cluster_holds_any_numbers_as_plain_ones():
    np = pytest.importorskip("numpy")
    request = JobRequest(name="s", trials=np.int64(3), version="1")

    assert json.loads(request.to_json())["trials"] == 3
