"""Finds a user's own modules in the folder of the study's file."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def add_import_folder(folder: str | None) -> None:
    """Let modules be imported from this folder, before all others."""
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)


def import_function(target: str) -> Callable[..., Any]:
    """Return what ``package.module:function`` names, of the program's own modules."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function
