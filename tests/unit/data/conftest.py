"""What holds for the tests of data sets."""

import pytest

from trainables.data.guarded import shared_readers


@pytest.fixture(autouse=True, scope="module")
def _one_reader():
    """Hold the process that reads Parquet, so that not every test starts one."""
    readers = shared_readers()
    yield
    del readers
