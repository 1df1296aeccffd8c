import pytest

from search.cluster.token import ensure_private_token, find_token
from search.errors import InputError, TokenRefused


@pytest.fixture
def home(tmp_path):
    (tmp_path / ".ray").mkdir()
    file = tmp_path / ".ray" / "auth_token"
    file.write_text("abc123\n")
    file.chmod(0o600)
    return tmp_path


def test_the_token_is_found_where_ray_finds_it(home, tmp_path):
    other = tmp_path / "other"
    other.write_text("of-a-file")
    other.chmod(0o400)
    place = {"HOME": str(home)}

    assert find_token(place) == "abc123"
    assert find_token({**place, "RAY_AUTH_TOKEN_PATH": str(other)}) == "of-a-file"
    both = {**place, "RAY_AUTH_TOKEN_PATH": str(other), "RAY_AUTH_TOKEN": "said"}
    assert find_token(both) == "said"


def test_without_a_token_none_is_sent(tmp_path):
    assert find_token({"HOME": str(tmp_path)}) is None


def test_a_token_is_not_sent_where_that_is_switched_off(home):
    assert find_token({"HOME": str(home), "RAY_AUTH_MODE": "disabled"}) is None


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_token_that_others_can_read_is_refused_with_the_cure(home, mode):
    (home / ".ray" / "auth_token").chmod(mode)

    with pytest.raises(InputError, match=f"got mode {mode:o}: run `chmod 600 /.*auth_token`"):
        find_token({"HOME": str(home)})


def test_a_token_in_a_folder_that_cannot_be_entered_is_an_error_of_ours(home, monkeypatch):
    def denied(path, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("search.cluster.token.Path.open", denied)

    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        find_token({"HOME": str(home)})


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"RAY_AUTH_MODE": "token"}, id="mode"),
        pytest.param({"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}, id="path"),
    ],
)
def test_a_token_that_is_wanted_and_missing_is_an_error(tmp_path, environment):
    with pytest.raises(TokenRefused, match="needs its token, got no file"):
        find_token({"HOME": str(tmp_path), **environment})


@pytest.mark.parametrize("content", ["", "two words", "a\r\nX-Evil: 1", "grün"])
def test_what_is_no_token_is_refused_without_repeating_it(home, content):
    (home / ".ray" / "auth_token").write_text(content)

    with pytest.raises(InputError, match="needs a token of letters and digits, got something"):
        find_token({"HOME": str(home)})


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "")  # also undoes what is set meanwhile
        monkeypatch.delenv(name)
    return tmp_path / ".ray" / "auth_token"


def mode(path):
    return path.stat().st_mode & 0o777


def test_a_token_is_private_before_ray_looks_for_one_and_ray_finds_it(empty_home):
    ensure_private_token()

    assert (mode(empty_home), mode(empty_home.parent)) == (0o600, 0o700)
    made = find_token({"HOME": str(empty_home.parents[1])})
    assert len(made) == 64
    assert [path.name for path in empty_home.parent.iterdir()] == ["auth_token"]
    ensure_private_token()
    assert empty_home.read_text() == made


@pytest.mark.parametrize("before", [0o644, 0o660, 0o600, 0o400], ids=oct)
def test_a_token_that_others_may_read_is_theirs_no_more_when_a_ray_is_started(home, before):
    token = home / ".ray" / "auth_token"
    token.chmod(before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
        ensure_private_token()

    assert mode(token) == before & 0o700
    assert token.read_text() == "abc123\n"


@pytest.mark.parametrize(
    "home",
    [
        pytest.param(None, id="none_and_no_entry"),
        pytest.param("missing/home", id="missing"),
        pytest.param("file", id="no_folder"),
    ],
)
def test_without_a_home_that_holds_a_file_the_token_is_one_of_this_process(
    empty_home, tmp_path, monkeypatch, home
):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", str(tmp_path / home))

    ensure_private_token()
    made = find_token()
    ensure_private_token()

    assert len(made) == 64
    assert find_token() == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_where_a_file_cannot_appear_whole_the_token_is_one_of_this_process(
    empty_home, monkeypatch
):
    monkeypatch.setattr("search.cluster.token.os.link", refuse)

    ensure_private_token()

    assert len(find_token()) == 64
    assert list(empty_home.parent.iterdir()) == []


def test_a_token_elsewhere_is_made_private_and_none_is_made(empty_home, tmp_path, monkeypatch):
    named = tmp_path / "named"
    named.touch(mode=0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(named))

    ensure_private_token()

    assert mode(named) == 0o600
    assert not empty_home.exists()


@pytest.mark.parametrize("given", [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "t" * 64)])
def test_no_token_is_made_where_none_is_needed(empty_home, monkeypatch, given):
    monkeypatch.setenv(*given)

    ensure_private_token()

    assert not empty_home.exists()


def refuse(*given):
    raise PermissionError(1, "Operation not permitted")
