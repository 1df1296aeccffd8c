"""What is asked of a data set and what its check found: plain frozen values."""

from dataclasses import dataclass

from trainables.spec.heads import DeclaredHead, HeadSpec

SPLITS = ("train", "validation", "test")
"""The words of a ``split`` column, in the order in which splits are stored."""

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
