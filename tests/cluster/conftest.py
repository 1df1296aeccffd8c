"""Skips what needs hosts where there cannot be any, and says why."""

import pytest

from tests.cluster.namespaces import why_no_hosts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needing = [item for item in items if item.get_closest_marker("hosts")]
    reason = why_no_hosts() if needing else None
    for item in needing:
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
