"""The folder of one study: where everything of it lies, and its records that are one object."""

from collections.abc import Mapping
from typing import Any, Literal, final

from trainables.storage.sealed_json import seal, unseal
from trainables.storage.store import Store

Single = Literal["study", "prepared", "shares", "warm"]
"""What the study is; what was found out about its data; the shares that were measured for its
trials; what it took of earlier studies."""


@final
class StudyFolder(Store):
    """A store that is one study's folder; made once, and passed to all that read and write it."""

    LOG = "log"
    EPOCHS = "epochs"
    TRIALS = "trials"
    CLAIMS = "owner"
    SIGNS = "lease"
    RUNS = "runs"
    CHECKPOINTS = "checkpoints"
    FAILURES = "failures"
    CONFIRMATION = "confirm"
    WRITTEN = (LOG, EPOCHS, TRIALS, CLAIMS)
    """What a new owner builds on."""

    @classmethod
    def of(cls, store: Store) -> "StudyFolder":
        """Return the study's folder that a store is, or that lies where it does."""
        if isinstance(store, cls):
            return store
        folder = object.__new__(cls)
        folder.uri, folder._folder = store.uri, store._folder
        return folder

    @property
    def confirmation(self) -> "StudyFolder":
        """The record of the study's confirmation, of the same form."""
        return self.child(self.CONFIRMATION)

    def read(self, kind: Single) -> dict[str, Any] | None:
        """Return a record that is one object; None if it is not there.

        Raises what `unseal` raises, and `StorageError` if the storage refuses.
        """
        try:
            return unseal(kind, self.get(f"{kind}.json"), f"{self.uri}/{kind}.json")
        except FileNotFoundError:
            return None

    def has(self, kind: Single) -> bool:
        """Tell whether there is such a record, or something in its place."""
        return self.exists(f"{kind}.json")

    def remove(self, *kinds: Single) -> None:
        """Remove such records, one after the other; missing ones are no error."""
        for kind in kinds:
            self.delete(f"{kind}.json")

    def write(self, kind: Single, body: Mapping[str, Any]) -> None:
        """Write such a record; only for the study's owner. Raises `StorageError`."""
        self.put(f"{kind}.json", seal(kind, body))
