"""Calls to a storage that fails now and then: tried again, each with a limit, never for ever."""

import errno
import logging
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 150.0
"""A storage that is away for a minute is waited for; after this it is an error."""
CALL_SECONDS = 60.0
"""For one answer; what carries much data gets a second more per MiB."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
QUIET_SECONDS = 5.0
"""A trouble that lasts longer is told."""

_LASTING = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST),
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EINVAL),
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    }
)
# What S3 and GCS are known to say, in pyarrow 26's words; anything else may mend itself.
_LASTING_WORDS = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN_ID"
    r"|SIGNATURE_DOES_NOT_MATCH|INVALID_SIGNATURE|INCOMPLETE_SIGNATURE|UNRECOGNIZED_CLIENT"
    r"|MISSING_AUTHENTICATION_TOKEN|REQUEST_EXPIRED|REQUEST_TIME_TOO_SKEWED|OPT_IN_REQUIRED"
    r"|[Nn]ot a (?:regular )?(?:file|directory)|[Ii]s a directory"
    r"|ExpiredToken|InvalidToken|InvalidBucketName|HTTP status (?:301|401|403)"
    r"|PERMISSION_DENIED|UNAUTHENTICATED|INVALID_ARGUMENT|FAILED_PRECONDITION"
)

_logger = logging.getLogger(__name__)


def _may_mend(error: OSError) -> bool:
    """Tell whether the same call may do later: not if something is missing or forbidden."""
    if error.errno in _LASTING or isinstance(error, FileNotFoundError | PermissionError):
        return False
    return _LASTING_WORDS.search(str(error)) is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """How long a call is tried again, and by which clock."""

    patience_seconds: float = PATIENCE_SECONDS
    """From the first failure on."""
    call_seconds: float = CALL_SECONDS
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def call(
        self,
        function: Callable[[], Answer],
        *,
        num_bytes: int = 0,
        progress: "Progress | None" = None,
    ) -> Answer:
        """Return what ``function`` returns, called again while that may help."""
        began: float | None = None
        pause = FIRST_PAUSE_SECONDS
        is_told = False
        while True:
            try:
                return within(self.call_seconds + num_bytes / 2**20, function, progress)
            except OSError as error:
                if not _may_mend(error):
                    raise
                now = self.clock()
                began = now if began is None else began
                if now - began >= self.patience_seconds:
                    raise OSError(f"{error} (tried for {now - began:.0f} s)") from error
                if not is_told and now - began >= QUIET_SECONDS:
                    left = self.patience_seconds - (now - began)
                    _logger.warning("the storage fails; trying for %.0f s more: %s", left, error)
                    is_told = True
                # Not all at once: a storage that comes back has many to serve.
                self.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class Progress:
    """When something last came of a call that has much to bring."""

    def __init__(self) -> None:
        self.at = time.monotonic()

    def note(self) -> None:
        """Note that something came just now."""
        self.at = time.monotonic()


def within(
    seconds: float, function: Callable[[], Answer], progress: Progress | None = None
) -> Answer:
    """Return what ``function`` returns, or give it up.

    It runs in a thread of its own: no call into a storage's library can be interrupted, not
    even by Ctrl+C, and one that never returns is left behind. `TimeoutError` if it takes too
    long, from its begin or its last progress on.
    """
    progress = progress or Progress()
    progress.note()
    outcome: Future[Answer] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="twohead-storage", daemon=True).start()
    while not wait([outcome], max(0.0, progress.at + seconds - time.monotonic())).done:
        if time.monotonic() >= progress.at + seconds:
            raise TimeoutError(f"the storage has not answered within {seconds:.0f} s")
    return outcome.result()
