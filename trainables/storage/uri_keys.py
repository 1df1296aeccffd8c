"""Keys and passwords in URIs: refused where they are given, left out of all that is shown.

What a study is told is written down, shown and sent to a cluster; a key in it would be, too.
"""

import re
from urllib.parse import unquote_plus

from trainables.errors import InputError

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/+)([^?#]*)(.*)", re.DOTALL)
"""Scheme, slashes, place, and options with all behind them; also with a slash too few."""
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^\s'\"]*[^\s'\".,;:)\]}>]")
_SECRET = re.compile(
    r"key(_?id)?$|secret|token|passw|^pass$|pwd|^auth|signature|^sig$|credentials?$"
)
"""Names of options, in small letters with ``_`` for ``-``; pyarrow 26 has `credential_kind`."""
_USER = re.compile(r"[^/@]*:[^/@]*@")
_INSTEAD = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, a profile in ~/.aws",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS in the environment, the login of gcloud",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS in the environment, the login of gcloud",
    "abfs": "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET in the environment, the login of az",
    "abfss": "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET in the environment, the login of az",
}
_CUT = "..."


def check_no_key(what: str, uri: str) -> None:
    """Refuse a path or a URI, of ``what`` such as ``data``, with a key or a password in it.

    The `InputError` says where the key stands and what to use instead, without the key.
    """
    found = _key_in(uri)
    if found:
        scheme = uri.partition(":")[0].lower()
        instead = _INSTEAD.get(scheme, "the environment, a file of the provider's own")
        raise InputError(
            f"{what} needs a URI without a password or key in it, which a study's files and logs "
            f"would show, got {found}: use {instead}, or the role of the machine"
        )


def without_keys(uri: str) -> str:
    """Return a URI without user, password and secret options; a path as it is.

    Example:
        >>> without_keys("s3://KEY:SECRET@bucket/x?region=eu&session_token=abc")
        's3://bucket/x?region=eu'
    """
    match = _URI.fullmatch(uri)
    if match is None or not _key_in(uri):
        return uri
    scheme, slashes, place, rest = match.groups()
    if _user_in(scheme, place):
        _, _, place = place.rpartition("@") if "@" in place else ("", "", _CUT)
        if place == _CUT or "@" in rest:  # the key itself holds a ? or #
            return f"{scheme}:{slashes}{_CUT}"
    options = [one for one in rest[1:].split("&") if one and not _is_secret(one)]
    return f"{scheme}:{slashes}{place}" + (f"?{'&'.join(options)}" if options else "")


def without_keys_in(text: str) -> str:
    """Return text with every URI in it as `without_keys` gives it.

    Example:
        >>> without_keys_in("cannot read 's3://KEY:SECRET@bucket/x', see http://host:8265.")
        "cannot read 's3://bucket/x', see http://host:8265."
    """
    if ":/" not in text:
        return text
    # A colon alone is no password: messages say <host>:<port>.
    return _IN_TEXT.sub(lambda m: without_keys(m[0]) if "@" in m[0] or "=" in m[0] else m[0], text)


def _key_in(uri: str) -> str:
    """Return in words what of a URI is a key; empty if nothing is."""
    match = _URI.fullmatch(uri)
    if match is None:
        return ""
    scheme, _, place, rest = match.groups()
    if _user_in(scheme, place):
        return "one before its '@'"
    secret = next((one for one in rest[1:].split("&") if _is_secret(one)), "")
    return f"one in its option {_name(secret)!r}" if secret else ""


def _user_in(scheme: str, place: str) -> bool:
    """Tell whether a place begins with a user and a password, or a user of S3, which is a key."""
    host = place.partition("/")[0]
    user, at, _ = host.rpartition("@")
    if at:
        return ":" in user or scheme.lower() == "s3"
    _, colon, port = host.rpartition("]")[2].rpartition(":")
    # Keys of AWS may hold a slash: then the first part looks like a host with an odd port.
    return bool(colon) and ("@" in place or not port.isdecimal())


def _is_secret(option: str) -> bool:
    _, _, value = option.partition("=")
    name = _name(option).lower().replace("-", "_")
    return bool(_SECRET.search(name)) or bool(_USER.search(unquote_plus(value)))


def _name(option: str) -> str:
    return unquote_plus(option.partition("=")[0].lstrip("?#"))
