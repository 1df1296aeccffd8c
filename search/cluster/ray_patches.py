"""Lets something stand for another value for a while, where Ray offers no other way in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(holder: Any, name: str, value: Any) -> Iterator[None]:
    """Let a name of a module or class stand for another value."""
    former = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, former)


@contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """Let a variable of the environment have another value."""
    former = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if former is None:
            del os.environ[name]
        else:
            os.environ[name] = former
