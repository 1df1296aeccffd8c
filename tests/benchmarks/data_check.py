"""How fast a set of small images is checked, beside a bare loop of the decoder on all processors.

Run with ``python -m tests.benchmarks.data_check --images 100000``.
"""

import argparse
import io
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from trainables.data.check import check_dataset
from trainables.data.request import DataRequest
from trainables.spec.heads import DeclaredHead

HEADS = (
    DeclaredHead(name="c_output", kind="classification"),
    DeclaredHead(name="r_output", kind="regression"),
)
SCHEMA = pa.schema([("image", pa.binary()), ("c_output", pa.int64()), ("r_output", pa.float64())])
GROUP = 1000


def main() -> None:
    """Print images a second of the check, of ``--fast`` and of the bare decoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=32, help="height and width in pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.parquet"
        write(path, options.images, options.size)
        request = DataRequest(uri=str(path), heads=HEADS, image_size=None)
        full = options.images / seconds_of(lambda: check_dataset(request))
        fast = seconds_of(lambda: check_dataset(request, is_fast=True))
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        bare = options.images / seconds_of(lambda: decode_bare(path))
    print(f"bare decoder {bare:8.0f} images/s in {os.cpu_count()} processes")
    print(f"data check   {full:8.0f} images/s, {full / bare:.2f} of the bare decoder")
    print(f"--fast       {fast:8.1f} s")
    print(f"peak memory  {own:8.0f} MiB of the process that checks")


def write(path: Path, images: int, size: int) -> None:
    """Write a set of PNG images that no two of are equal."""
    random = np.random.default_rng(0)
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for start in range(0, images, GROUP):
            rows = range(start, min(start + GROUP, images))
            table = [[encoded(random, size) for _ in rows], [row % 10 for row in rows], rows]
            writer.write_table(pa.table(table, schema=SCHEMA))


def encoded(random: np.random.Generator, size: int) -> bytes:
    """Return a smooth image as a PNG."""
    small = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize((size, size), Image.Resampling.BILINEAR).save(stream, "PNG")
    return stream.getvalue()


def decode_bare(path: Path) -> None:
    """Decode the images and do nothing else."""
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(decode_batch, batches(path)):
            pass


def batches(path: Path) -> Iterator[list[bytes]]:
    """Yield the encoded images."""
    for batch in pq.ParquetFile(path).iter_batches(GROUP, columns=["image"]):
        yield batch.column(0).to_pylist()


def decode_batch(images: list[bytes]) -> None:
    """Decode in this process."""
    for image in images:
        np.asarray(Image.open(io.BytesIO(image)))


def seconds_of(function: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
