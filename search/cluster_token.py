"""The token that a cluster asks for: where it is found, and who else could read it."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from search.errors import InputError, TokenRefused

LARGEST_BYTES = 4096


def find_token(environment: Mapping[str, str] | None = None) -> str | None:
    """Return the token where Ray would find it, None without one or where it is switched off.

    That is ``RAY_AUTH_TOKEN``, the file at ``RAY_AUTH_TOKEN_PATH``, or ``~/.ray/auth_token``,
    unless ``RAY_AUTH_MODE`` says ``disabled``.

    Args:
        environment: By default that of the process.

    Raises:
        InputError: If others may read the file, or it holds no token.
        TokenRefused: If ``RAY_AUTH_MODE`` says ``token`` and there is none.
    """
    known = os.environ if environment is None else environment
    mode = known.get("RAY_AUTH_MODE", "").strip().lower()
    if mode == "disabled":
        return None
    if said := known.get("RAY_AUTH_TOKEN", "").strip():
        return _checked(said, "RAY_AUTH_TOKEN")
    named = known.get("RAY_AUTH_TOKEN_PATH", "").strip()
    path = Path(named) if named else _default_path(known)
    if _is_there(path):
        return _read(path)
    if named or mode == "token":
        raise TokenRefused(
            f"a cluster with RAY_AUTH_MODE=token needs its token, got no file {path}: copy it "
            "there from the head (~/.ray/auth_token) and `chmod 600` it"
        )
    return None


@contextmanager
def private_token() -> Iterator[None]:
    """Have a token that Ray makes meanwhile readable for this user alone.

    A Ray that is started on this machine makes one where there is none, in a file that all may
    read (ray 2.60); one that was there is left as it is.
    """
    path = _default_path(os.environ)
    was_there = True
    with suppress(OSError):
        was_there = path.exists()
        path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        yield
    finally:
        if not was_there:
            with suppress(OSError):
                path.chmod(0o600)


def _default_path(known: Mapping[str, str]) -> Path:
    return Path(known.get("HOME") or Path.home(), ".ray", "auth_token")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise InputError(f"the token {path} cannot be read: {error.strerror}") from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise InputError(
                    f"the token {path} needs to be readable by you alone (mode 600), got mode "
                    f"{mode:o}: run `chmod 600 {path}`"
                )
            content = file.read(LARGEST_BYTES)
    except OSError as error:
        raise InputError(f"the token {path} cannot be read: {error.strerror}") from None
    return _checked(content.decode("ascii", "replace").strip(), str(path))


def _checked(token: str, where: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{where} needs a token of letters and digits, got something else")
    return token
