"""The way to a cluster: an address, or a file whose tunnel is opened and kept up."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from search.cluster_token import find_token
from search.errors import InputError, Unreachable
from search.remote.jobs_api import JobsApi
from search.remote.tunnel import Tunnel

Answer = TypeVar("Answer")

DEFAULT = "http://127.0.0.1:8265"
ADDRESS = "RAY_API_SERVER_ADDRESS"
PATIENCE_SECONDS = 60.0
"""How long a cluster that answered may be gone while something is waited for."""
PAUSE_SECONDS = 2.0

_WITH_PORT = re.compile(r"[^/]+:\d+/")
"""``host:port/...``, as a browser shows an address."""


class Connection:
    """Calls Ray's Jobs API of one cluster.

    Args:
        address: A URL, ``host:port``, or the file that `ray up` was given; None for what
            ``RAY_API_SERVER_ADDRESS`` says, else the port that `ray dashboard` opens.

    Raises:
        InputError: If it is no address, or the token is not safe.
        ClusterError: If nothing answers there.
        TokenRefused: If the cluster wants another token.
    """

    def __init__(self, address: str | os.PathLike[str] | None = None) -> None:
        said = _plain(address) or os.environ.get(ADDRESS, "").strip() or DEFAULT
        self._token = find_token()
        self._tunnel = Tunnel(Path(said).expanduser()) if _is_file(said) else None
        if self._tunnel is None:
            self._api = JobsApi(address=said, token=self._token)
        else:
            self._open_tunnel(self._tunnel)
        try:
            self.ray_version = self._api.check()
        except BaseException:
            self.close()
            raise

    def call(self, ask: Callable[[JobsApi], Answer]) -> Answer:
        """Return what a call gives; a tunnel that has ended is opened once more."""
        try:
            return ask(self._api)
        except Unreachable:
            if self._tunnel is None or self._tunnel.is_open:
                raise
        self._open_tunnel(self._tunnel)
        return ask(self._api)

    def call_patiently(self, ask: Callable[[JobsApi], Answer]) -> Answer:
        """Return what a call gives that only looks, though the cluster be gone for a while.

        Raises:
            ClusterError: If it is not back in time.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.call(ask)
            except Unreachable:
                if time.monotonic() >= end:
                    raise
            time.sleep(PAUSE_SECONDS)

    @property
    def address(self) -> str:
        """The URL that is called."""
        return self._api.address

    def close(self) -> None:
        """End the tunnel, if there is one."""
        if self._tunnel is not None:
            self._tunnel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open_tunnel(self, tunnel: Tunnel) -> None:
        tunnel.open()
        self._api = JobsApi(address=tunnel.address, token=self._token)


def _plain(address: object) -> str:
    said = os.fspath(address) if isinstance(address, os.PathLike) else address or ""
    if not isinstance(said, str):
        raise InputError(f"the address of a cluster needs text or a path, got {said!r}")
    return said.strip()


def _is_file(said: str) -> bool:
    """Tell whether an address is a cluster's file.

    Raises:
        InputError: If it looks like one and is not there.
    """
    if "://" in said:
        return False
    path = Path(said).expanduser()
    if path.is_file():
        return True
    if path.suffix in {".yaml", ".yml"} or ("/" in said and not _WITH_PORT.match(said)):
        raise InputError(f"the file of a cluster needs to be there, got {said!r}")
    return False
