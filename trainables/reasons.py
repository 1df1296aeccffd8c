"""Says in one line why a trial cannot go on."""

import math
import traceback

from trainables.errors import InputError, SearchError
from trainables.run import EpochResult


def not_finite(result: EpochResult, epoch: int) -> str | None:
    """Say which loss stopped being a number, if one did."""
    named = {f"val_{head}_loss": loss for head, loss in result.losses.items()}
    named["training loss"] = result.training_loss
    for name, value in named.items():
        if not math.isfinite(value):
            word = "NaN" if math.isnan(value) else "infinite"
            return f"{name} became {word} in epoch {epoch}"
    return None


def reason_of(error: BaseException, user_folder: str | None) -> str:
    """Put an error into one line: what it is and, outside our own errors, where it arose.

    The place is the innermost line of the user's own code, if any of it was running.
    """
    text = " ".join(str(error).split())[:400]
    if is_out_of_memory(error):
        return f"out of memory: {text or 'an allocation failed'}"
    if isinstance(error, SearchError):
        return text
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    users = [place for place in frames if user_folder and _lies_in(place[0], user_folder)]
    place = " ({}:{})".format(*(users or frames)[-1]) if frames else ""
    return f"{type(error).__name__}: {text}{place}"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that no memory was left, of the machine or of a GPU.

    TensorFlow raises ``ResourceExhaustedError``; what XLA raises may be of any class, with the
    status' name at the beginning of its text or after a colon. A user's model may have raised
    it while it was built, which is an error of ours with that as its cause.
    """
    if isinstance(error, InputError) and error.__cause__ is not None:
        return is_out_of_memory(error.__cause__)
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    return "RESOURCE_EXHAUSTED" in str(error)


def _lies_in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip('/')}/") and "/site-packages/" not in path
