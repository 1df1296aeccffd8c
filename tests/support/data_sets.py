"""Small data sets for the tests of ``trainables.data``."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from trainables.data.request import DataRequest
from trainables.spec.heads import DeclaredHead

CLASS = DeclaredHead(name="c_output", kind="classification")
NUMBER = DeclaredHead(name="r_output", kind="regression")
BOX = DeclaredHead(name="r_output", kind="box")


def encoded(height=8, width=8, mode="L", value=100, form="PNG"):
    """Return the bytes of an image of one colour."""
    colour = value if mode in ("L", "I;16", "1", "P") else (value,) * len(mode)
    stream = io.BytesIO()
    Image.new(mode, (width, height), colour).save(stream, format=form)
    return stream.getvalue()


def different(rows=10, *, last=None, **change):
    """Return images no two of which are equal; the last ones may be given."""
    last = last or []
    values = range(rows - len(last))
    return [marked(value % 256, value // 256, **change) for value in values] + last


def marked(value, mark, height=8, width=8, mode="L", form="PNG"):
    """Return the bytes of an image of one colour, of which the last pixels count."""
    pixels = np.full((height, width, len(mode)), value, np.uint8)
    pixels[-1, -1] = (value + mark) % 256
    stream = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels).save(stream, format=form)
    return stream.getvalue()


def columns(rows=10, **change):
    """Return the columns of a valid set of ``rows`` rows, some of them replaced."""
    values = {
        "image": different(rows),
        "c_output": [row % 2 for row in range(rows)],
        "r_output": [float(row) for row in range(rows)],
    }
    return {name: column for name, column in {**values, **change}.items() if column is not None}


def write(path, **change):
    """Write a set; return its path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns(**change)), path, write_page_checksum=True)
    return str(path)


def request(uri, *heads, image_size=None, **change):
    """Return a request for a class and a number, or for the heads given."""
    return DataRequest(
        uri=str(uri), heads=heads or (CLASS, NUMBER), image_size=image_size, **change
    )


def as_numbers(values):
    """Return a NumPy array as nested lists of Arrow float64."""
    return pa.array(np.asarray(values, dtype=np.float64).tolist(), pa.list_(pa.float64()))
