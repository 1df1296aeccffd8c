"""What is asked of a data set and what its check found: plain frozen values."""

from dataclasses import dataclass
from typing import Any, Literal

from trainables.spec.heads import DeclaredHead, HeadSpec
from trainables.spec.plain_values import plain_json

SPLITS = ("train", "validation", "test")
"""The words of a ``split`` column, in the order in which splits are stored."""

RULES = 2
"""The version of the rules by which a set is read; raised when the same input would give others.

1 took all files for one set whatever their names, chose colour by the first images, kept the upper
8 of 16 bits and drew each row for itself. A study goes on by the rules that it began with.
"""
IMAGE_COLUMN = "image"
SPLIT_COLUMN = "split"
LARGEST_SIDE = 8192
"""Pixels; a larger ``image_size`` is taken for a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRequest:
    """Where a data set lies and how it is to be read; checked where a study is given.

    Example:
        >>> head = DeclaredHead(name="c_output", kind="classification")
        >>> DataRequest(uri="digits.parquet", heads=(head,), image_size=None).validation_share
        0.2
    """

    uri: str
    """A Parquet file, a folder of them, or a URI of either that ``pyarrow.fs`` opens."""

    heads: tuple[DeclaredHead, ...]
    """At least one; each is named after its label column."""

    image_size: tuple[int, int] | None
    """Height and width to resize to, the aspect not kept; None: all images have one size."""

    validation_share: float = 0.2
    """Share of the rows that validate, in (0, 1); only without a ``split`` column."""

    validation_seed: int = 0
    """Which rows those are, >= 0; only without a ``split`` column."""

    channels: Literal[1, 3] | None = None
    """What every image becomes: grey or colour; None: grey if all are."""

    is_strict: bool = False
    """Whether what is legal but suspicious is refused."""

    skips_bad_rows: bool = False
    """Whether rows that cannot be used are left out, counted and told, or refused."""

    rules: int = RULES
    """The version of the rules to read by, 1 to ``RULES``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataInfo:
    """What a checked data set is: enough to build models, decode it and judge losses."""

    fingerprint: str
    """SHA-256 (hex) of the files' content and of all that shapes the decoded set."""

    image_shape: tuple[int, int, int]
    """Height, width and channels (1 or 3) of every decoded image."""

    heads: tuple[HeadSpec, ...]
    """The declared heads with the units and class labels that the data showed."""

    rows: dict[str, int]
    """Number of rows of each split: ``train``, ``validation``, ``test`` (may be 0)."""

    baselines: dict[str, float]
    """By head: the recorded loss, on the validation rows, of the best constant prediction
    that the training rows give; at least 1e-12."""

    rules: int = 1
    """The version of the rules by which the set was read; see ``RULES``. Version 1 did not say."""

    depth: int = 16
    """Bits of the images that have more than 8, see `trainables.data.images.ImageRule`."""

    is_made_grey: bool = False
    """Whether colour images were made grey, as ``channels: 1`` asks for."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; of rules of version 1 as they were then."""
        values: dict[str, Any] = plain_json(self)
        if self.rules == 1:
            del values["rules"], values["depth"], values["is_made_grey"]
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """What the check of a data set has to tell."""

    info: DataInfo

    warnings: tuple[str, ...] = ()
    """What is legal but suspicious, each with figures and a cure."""

    notes: tuple[str, ...] = ()
    """What the set is, where that is not plain."""
