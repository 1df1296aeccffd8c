"""Data sets: Parquet in, checked at once, decoded once, mapped by every trial.

``check_dataset`` is cheap and finds what is wrong with labels and files; ``decode_dataset``
writes the arrays below ``<storage>/.data/<fingerprint>``; ``open_dataset`` maps them.
"""

from trainables.data_check import check_dataset
from trainables.data_decode import decode_dataset, is_decoded, is_intact
from trainables.data_store import Dataset, Split, open_dataset
from trainables.data_values import SPLITS, DataInfo, DataRequest

__all__ = [
    "SPLITS",
    "DataInfo",
    "DataRequest",
    "Dataset",
    "Split",
    "check_dataset",
    "decode_dataset",
    "is_decoded",
    "is_intact",
    "open_dataset",
]
