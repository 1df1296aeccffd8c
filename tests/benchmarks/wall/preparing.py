"""Writes what all contenders share, before any clock runs: the data and the configs."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from search.space.completion import default_space
from search.space.encoding import decode, number_at
from tests.benchmarks.wall.task import HEADS
from trainables.data.digits import SHARES, write_digits
from trainables.spec.heads import HeadSpec
from trainables.spec.parameters import reference_config
from trainables.spec.trial import ModelSpec, TrialSpec

CONFIG_SEED = 0
PARQUET = "digits.parquet"
HEAD_SPECS = (
    HeadSpec(name=HEADS[0], kind="classification", units=10),
    HeadSpec(name=HEADS[1], kind="box", units=4),
)


def write_data(folder: Path, *, image_size: int, rows: int) -> Path:
    """Write digits once: Parquet for us, and the same rows as ``.npy`` for the others.

    Args:
        folder: Holds data of any size.
        image_size: Pixels of each side.
        rows: To train on; an eighth as many validate.

    Returns:
        The folder of these data.
    """
    out = folder / f"digits-{image_size}-{rows}"
    if out.exists():
        return out
    part = folder / f".{out.name}-{os.getpid()}"
    part.mkdir(parents=True)
    num = round(rows / SHARES["train"])
    table = pq.read_table(write_digits(part / PARQUET, num=num, image_size=image_size))
    table = table.filter(pc.not_equal(table["split"], "test"))
    pq.write_table(table, part / PARQUET)
    for split in ("train", "validation"):
        _write_arrays(part, split, table.filter(pc.equal(table["split"], split)))
    part.rename(out)
    return out


def _write_arrays(folder: Path, split: str, table: pa.Table) -> None:
    images = [np.asarray(Image.open(io.BytesIO(png))) for png in table["image"].to_pylist()]
    np.save(folder / f"{split}_image.npy", np.stack(images)[..., None])
    for head, kind in zip(HEADS, ("int32", "float32"), strict=True):
        np.save(folder / f"{split}_{head}.npy", np.array(table[head].to_pylist(), kind))


def configs_of(trials: int, path: Path | None) -> list[dict[str, Any]]:
    """Return the configs to train: drawn, or the first of a JSON list.

    What a listed config does not name is constant in the default space, or the reference's.

    Raises:
        ValueError: If the file has fewer than ``trials``, or is no list.
    """
    if path is None:
        return draw_configs(trials)
    listed = json.loads(path.read_text())
    if not isinstance(listed, list) or len(listed) < trials:
        raise ValueError(f"{path} needs a list of at least {trials} configs, got {len(listed)}")
    others = reference_config(HEAD_SPECS, 2) | dict(default_space(HEAD_SPECS).constants)
    return [{**others, **config} for config in listed[:trials]]


def draw_configs(trials: int) -> list[dict[str, Any]]:
    """Return the first configs of a fixed random order of the default space, complete."""
    space = default_space(HEAD_SPECS)
    rng = np.random.default_rng(CONFIG_SEED)
    configs = []
    for _ in range(trials):
        drawn = {
            name: decode(kind, number_at(kind, rng.random())) for name, kind in space.searched
        }
        configs.append({**dict(space.constants), **drawn})
    return configs


def with_paddings(config: dict[str, Any], image_size: int) -> dict[str, Any]:
    """Return a config that also says how each of our convolutions pads at this image size.

    Raises:
        ValueError: If it is no config, or one of more than the plain model has.
    """
    spec = TrialSpec.from_config(config, image_shape=(image_size, image_size, 1), heads=HEAD_SPECS)
    model = spec.model
    if not isinstance(model, ModelSpec) or model.batch_norm or model.l2:
        raise ValueError(f"the plain model has no batch_norm and no l2, got {config}")
    if spec.optimizer != "adam":
        raise ValueError(f"the plain model needs adam, got {spec.optimizer!r}")
    paddings = {f"conv{n}_padding": block.padding for n, block in enumerate(model.blocks, 1)}
    return {**config, **paddings}
