"""The token that a cluster asks for: where it is found, and who else could read it."""

import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from search.errors import InputError, TokenRefused

LARGEST_BYTES = 4096
TOKEN_BYTES = 32
"""As many random ones as Ray takes for a token of its own."""


def find_token(environment: Mapping[str, str] | None = None) -> str | None:
    """Return the token where Ray would find it, None without one or where it is switched off.

    That is ``RAY_AUTH_TOKEN``, the file at ``RAY_AUTH_TOKEN_PATH``, or ``~/.ray/auth_token``,
    unless ``RAY_AUTH_MODE`` says ``disabled``. `InputError` if others may read the file, or it
    holds no token; `TokenRefused` if ``RAY_AUTH_MODE`` says ``token`` and there is none.
    """
    known = os.environ if environment is None else environment
    mode = known.get("RAY_AUTH_MODE", "").strip().lower()
    if mode == "disabled":
        return None
    if said := known.get("RAY_AUTH_TOKEN", "").strip():
        return _checked(said, "RAY_AUTH_TOKEN")
    path = token_path(known)
    token = _read(path)
    if token is None and (known.get("RAY_AUTH_TOKEN_PATH", "").strip() or mode == "token"):
        raise TokenRefused(
            f"a cluster with RAY_AUTH_MODE=token needs its token, got no file {path}: copy it "
            "there from the head (~/.ray/auth_token) and `chmod 600` it"
        )
    return token


def own_token() -> str | None:
    """Return what this process would show to a Ray, fit or unfit; None if it has none.

    Travels to the nodes with `search.doctor`, as `token_path` does.
    """
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given.strip()
    try:
        return token_path(os.environ).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def token_path(known: Mapping[str, str]) -> Path:
    """Return where Ray looks for the token's file."""
    if named := known.get("RAY_AUTH_TOKEN_PATH", "").strip():
        return Path(named)
    # A user without a home and without an entry among the users keeps "~", which is no folder.
    return Path(known.get("HOME") or os.path.expanduser("~"), ".ray", "auth_token")


def ensure_private_token() -> None:
    """Have a token for a Ray that is going to be started here, readable for this user alone.

    Whoever has it runs code there as this user. Ray would make one where there is none, in a
    file that all may read, and takes one that is there as it is (ray 2.60). Without a home that
    can hold a file it is a variable of this process' environment.
    """
    path = token_path(os.environ)
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "").strip()
    is_off = os.environ.get("RAY_AUTH_MODE", "").strip().lower() == "disabled"
    if not (named or is_off or os.environ.get("RAY_AUTH_TOKEN")):
        try:
            _make(path)
        except OSError:  # no home, or one that cannot be written: Ray could make none there either
            # It stays: Ray reads a token once per process (ray 2.60).
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(TOKEN_BYTES)
    _shut(path)


def _make(path: Path) -> None:
    """Make a token where there is none, whole and private from its first moment."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.exists():
        return
    handle, unnamed = tempfile.mkstemp(prefix=".auth_token-", dir=path.parent)
    try:
        with open(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(TOKEN_BYTES))
        with suppress(FileExistsError):  # another run was faster
            os.link(unnamed, path)
    finally:
        os.unlink(unnamed)


def _shut(path: Path) -> None:
    """Take away from others what they may do with a file of this user."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(handle)
            is_own = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()
            if is_own and stat.S_IMODE(status.st_mode) & 0o077:
                os.fchmod(handle, 0o600)
        finally:
            os.close(handle)


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise InputError(
                    f"the token {path} needs to be readable by you alone (mode 600), got mode "
                    f"{mode:o}: run `chmod 600 {path}`"
                )
            content = file.read(LARGEST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"the token {path} cannot be read: {error.strerror}") from None
    return _checked(content.decode("ascii", "replace").strip(), str(path))


def _checked(token: str, where: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{where} needs a token of letters and digits, got something else")
    return token
