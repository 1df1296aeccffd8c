"""Opens the file system of a URI, with time limits where pyarrow takes them."""

import os
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""Without a byte; a large object may take longer."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def open_filesystem(uri: str) -> tuple[Any, str]:
    """Return the ``pyarrow.fs.FileSystem`` of a URI and the path in it.

    ``s3://bucket/folder`` takes key, endpoint and region from its options or from the usual
    environment variables of AWS.

    Raises:
        ValueError: If no file system of pyarrow takes this URI.
        OSError: If the region of a bucket had to be asked for and nothing answered.
    """
    from pyarrow.fs import FileSystem  # 0.1 s that a local study need not pay

    if urlsplit(uri).scheme != "s3":
        filesystem, path = FileSystem.from_uri(uri)
        return filesystem, path
    filesystem, path = FileSystem.from_uri(_with_region(uri))
    return _with_limits(filesystem), path


def _with_region(uri: str) -> str:
    """Name the region, if it is known: else pyarrow 26 asks Amazon for it, whatever is set."""
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    named = [os.environ[name] for name in REGIONS if os.environ.get(name)]
    has_endpoint = "endpoint_override" in options or any(map(os.environ.get, ENDPOINTS))
    if "region" in options or not (named or has_endpoint):
        return uri
    options["region"] = named[0] if named else "us-east-1"
    return urlunsplit(parts._replace(query=urlencode(options)))


def _with_limits(filesystem: Any) -> Any:
    """Return the same S3 with what no URI can say.

    One attempt at each request, as the caller tries again; and a small object in one request
    instead of three.
    """
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    _, (options,) = filesystem.__reduce__()
    return S3FileSystem(
        **{
            **options,
            "connect_timeout": CONNECT_SECONDS,
            "request_timeout": READ_SECONDS,
            "allow_delayed_open": True,
            "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=1),
        }
    )
