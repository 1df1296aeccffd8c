"""Nothing that a file holds is unpickled: whoever wrote it would run code here."""

import ast
from pathlib import Path

import pytest

import search
import trainables

ROOT = Path(search.__file__).parents[1]
PIPES = {
    "search/cluster/child_process.py": ["load", "load", "loads"],
    "trainables/data/guarded.py": ["loads", "loads", "loads"],
}
"""Both ends of a pipe to a process of our own, and a look whether what was packed just now comes
back."""
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "ray_pickle", "torch"}
READERS = {"load", "loads", "Unpickler", "open"}
ELSEWHERE = {"read_pickle", "get_pickled_error"}


def unpickled(source):
    """Return what a source calls that unpickles."""
    nodes = ast.walk(ast.parse(source))
    return sorted(name for node in nodes for name in named(node))


def named(node):
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] in MODULES:
        return [each.name for each in node.names if each.name in READERS]
    if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
        return [] if getattr(node.value, "value", None) is False else [node.arg]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        called, holder = node.func.attr, node.func.value
        name = getattr(holder, "id", getattr(holder, "attr", ""))
        is_found = called in ELSEWHERE or (name in MODULES and called in READERS)
        return [called] if is_found else []
    return []


def test_no_code_of_ours_unpickles_what_a_file_holds():
    found = {}
    for package in (search, trainables):
        for path in Path(package.__file__).parent.rglob("*.py"):
            if calls := unpickled(path.read_text()):
                found[path.relative_to(ROOT).as_posix()] = calls

    assert found == PIPES


@pytest.mark.parametrize(
    "source",
    [
        "pickle.load(file)",
        "ray.cloudpickle.loads(data)",
        "from pickle import loads",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=is_ours)",
        "pd.read_pickle(path)",
        "trial.get_pickled_error()",
        "torch.load(path)",
    ],
)
def test_each_way_to_unpickle_would_be_seen(source):
    assert len(unpickled(source)) == 1
