"""The token of this machine: where it lies, who may read it, and never what it is."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Any


def token_facts(salt: bytes) -> dict[str, Any]:
    """Return where this machine's token lies and who may read it; never the token.

    It is looked for where Ray does (ray 2.60): ``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH``,
    ``~/.ray/auth_token``.

    Args:
        salt: Goes into ``digest``, by which tokens are compared.
    """
    file = token_file()
    facts: dict[str, Any] = {
        "source": "file",
        "path": str(file),
        "mode": None,
        "folder_mode": None,
        "digest": None,
        "problem": None,
    }
    try:
        facts["mode"] = stat.S_IMODE(os.stat(file).st_mode)
        facts["folder_mode"] = stat.S_IMODE(os.stat(file.parent).st_mode)
        facts["digest"] = digest_of(file.read_text(encoding="utf-8"), salt)
        facts["problem"] = None if facts["digest"] else "is empty"
    except FileNotFoundError:
        facts["problem"] = "is not there"
    except (OSError, ValueError) as error:
        facts["problem"] = f"cannot be read ({getattr(error, 'strerror', None) or 'no text'})"
    if os.environ.get("RAY_AUTH_TOKEN"):
        digest = digest_of(os.environ["RAY_AUTH_TOKEN"], salt)
        facts.update(source="RAY_AUTH_TOKEN", digest=digest, problem=None)
    return facts


def token_file() -> Path:
    """Return where Ray looks for the token's file."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def own_token() -> str | None:
    """Return the token that this process would show to a Ray; None if it has none."""
    given = os.environ.get("RAY_AUTH_TOKEN")
    if given:
        return given.strip()
    try:
        return token_file().read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def digest_of(token: str | None, salt: bytes) -> str | None:
    """Return a salted hash of a token; None for none."""
    stripped = (token or "").strip()
    return hashlib.sha256(salt + stripped.encode()).hexdigest() if stripped else None
