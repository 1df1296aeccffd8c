"""The scripted study with packs so small that it has some."""

from collections.abc import Iterator

import pytest

from tests.support.faulty_files import Disk, MemoryFiles, empty_disk
from tests.support.scripted_study import Player, small_packs


@pytest.fixture(name="small_packs")
def pack_soon() -> Iterator[None]:
    with small_packs():
        yield


@pytest.fixture(scope="module")
def played() -> Disk:
    """The scripted study's disk, played once with small packs."""
    files = MemoryFiles(empty_disk())
    with small_packs():
        Player(files).play()
    return files.disk
