"""Each head's own metric, as it is recorded: what people ask for first, its loss beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from search.text import change, clean, number

Value = TypeVar("Value")
"""A number, or what became of it over several seeds."""


class HasFigures(Protocol):
    """What was measured at a point, on one split."""

    @property
    def losses(self) -> Mapping[str, float]:
        """By head name."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """By ``<head>_<metric>``, perhaps after ``val_``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One of the metrics by which a kind of head is known."""

    name: str
    """As it is recorded, after the name of the head."""
    label: str
    """For people."""
    goal: Literal["max", "min"]

    def in_digits(self, figure: float) -> str:
        """Return a figure of it: three decimals of a share, four digits of an error."""
        return f"{figure:.3f}" if self.goal == "max" else number(figure)


OWN = (
    Metric(name="accuracy", label="accuracy", goal="max"),
    Metric(name="iou", label="IoU", goal="max"),
    Metric(name="mae", label="MAE", goal="min"),
)
"""Of a class, of a box and of numbers; a head records one of them."""
BALANCED = Metric(name="balanced_accuracy", label="balanced", goal="max")
"""What else a class records: the mean of the recalls of the classes."""


def own_metric(metrics: Mapping[str, Value], head: str) -> tuple[Metric, Value] | None:
    """Return a head's own metric and its value; None where none was recorded."""
    found = ((metric, recorded(metrics, head, metric)) for metric in OWN)
    return next(((metric, figure) for metric, figure in found if figure is not None), None)


def recorded(metrics: Mapping[str, Value], head: str, metric: Metric) -> Value | None:
    """Return what is recorded as ``val_<head>_<metric>`` or ``<head>_<metric>``, else None."""
    name = f"{head}_{metric.name}"
    return metrics.get(f"val_{name}", metrics.get(name))


def metric_digits(metrics: Mapping[str, float], head: str) -> str:
    """Return a head's own metric without its name; ``-`` where none was recorded."""
    found = own_metric(metrics, head)
    return "-" if found is None else found[0].in_digits(found[1])


def metric_words(metrics: Mapping[str, float], head: str) -> str:
    """Return a head's own metric as ``accuracy 0.912``; empty where none was recorded."""
    found = own_metric(metrics, head)
    return "" if found is None else f"{found[0].label} {found[0].in_digits(found[1])}"


def short_words(point: HasFigures) -> str:
    """Return the own metric of every head at a point, else its loss, in one line."""
    return ", ".join(
        clean(f"{head} {metric_words(point.metrics, head) or f'loss {number(loss)}'}")
        for head, loss in point.losses.items()
    )


def loss_words(name: str, loss: float, reference: float | None) -> str:
    """Return a loss in words, compared with the reference's if there is one."""
    words = "" if reference is None else change(loss, reference)
    return clean(f"{name} {number(loss)}" + (f" ({words})" if words else ""))


def _head_words(point: HasFigures, head: str, against: HasFigures | None) -> str:
    loss, its_loss = point.losses[head], None if against is None else against.losses[head]
    metric = metric_words(point.metrics, head)
    if not metric:
        return loss_words(f"{head} loss", loss, its_loss)
    words = "" if its_loss is None else change(loss, its_loss)
    beside = f"loss {number(loss)}" + (f", {words}" if words else "")
    return clean(f"{head} {metric} ({beside})")


def point_words(point: HasFigures, against: HasFigures | None = None) -> str:
    """Return the own metric and the loss of every head at a point, in one line.

    Each loss is compared with that of the point ``against``, such as the reference's.

    Example:
        >>> from types import SimpleNamespace
        >>> metrics = {"c_accuracy": 0.912, "r_mae": 0.25}
        >>> point_words(SimpleNamespace(losses={"c": 0.3, "r": 0.11}, metrics=metrics))
        'c accuracy 0.912 (loss 0.3), r MAE 0.25 (loss 0.11)'
    """
    return ", ".join(_head_words(point, head, against) for head in point.losses)
