"""The files for `ray up` that come with this project."""

from importlib.resources import files
from pathlib import Path

from search.errors import InputError

PROVIDERS = {"aws": "cluster.yaml", "local": "cluster-local.yaml"}
"""The file for each of Ray's providers that there is one for."""


def cluster_yaml(provider: str) -> str:
    """Return the file for a provider: ``aws``, or ``local`` for machines of one's own."""
    if provider not in PROVIDERS:
        raise InputError(f"a provider needs to be one of {list(PROVIDERS)}, got {provider!r}")
    shipped = files("search") / "assets" / PROVIDERS[provider]
    if not shipped.is_file():  # a copy of a checkout in which its link was not kept
        shipped = Path(__file__).parents[2] / PROVIDERS[provider]
    return shipped.read_text(encoding="utf-8")


def write_cluster_yaml(path: str, text: str) -> None:
    """Write a file that is not there yet."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InputError(f"OUT needs a new file, got {path!r}, which exists") from error
    except OSError as error:
        raise InputError(f"OUT needs a file that can be written, got {path!r}: {error}") from error
