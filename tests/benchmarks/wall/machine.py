"""Where a run took place: processor, cores, and the versions of an interpreter's packages."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

PACKAGES = (
    "tensorflow",
    "keras",
    "numpy",
    "ray",
    "optuna",
    "keras-tuner",
    "syne-tune",
    "scikit-learn",
)
_ASK = """
import importlib.metadata as metadata, importlib.util as util, json, platform, sys
packages, modules = json.loads(sys.argv[1])
versions = {"python": platform.python_version()}
for name in packages:
    try:
        versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
missing = [name for name in modules if util.find_spec(name) is None]
print(json.dumps([versions, missing]))
"""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """Return the processor's name as the kernel knows it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def look_into(python: str, modules: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return an interpreter's versions by package, and which of the modules it has not."""
    question = json.dumps([PACKAGES, list(modules)])
    answer = subprocess.run(
        [python, "-c", _ASK, question], capture_output=True, text=True, check=True
    )
    versions, missing = json.loads(answer.stdout)
    return versions, missing


def warm_up(python: str) -> None:
    """Import what takes long once, so that the files are in memory and compiled."""
    subprocess.run(
        [python, "-c", "import keras, tensorflow, ray.tune, optuna"],
        capture_output=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
