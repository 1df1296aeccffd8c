"""A model that answers in the terms of its training labels; importing this imports TensorFlow."""

from collections.abc import Iterator
from itertools import islice
from os import PathLike, fspath
from typing import Any

import numpy as np

from trainables.errors import InputError
from trainables.model.backend import Model, keras, tf, visible_gpus
from trainables.model.build import fits
from trainables.model.isolation import our_keras
from trainables.model.prediction import Prediction, head_predictions
from trainables.model.preprocessing import Images, PreparedImage, image_rule, prepare_each
from trainables.model.signature import ModelSignature, attach_signature, read_signature
from trainables.training.evaluation import evaluation_batch_size
from trainables.training.forward import Plain


class Predictor:
    """Answers for images of any form and size; see `trainables.model.preprocessing.Images`.

    Images are read, and go through the model, in batches; the figures on them are those that
    the study recorded, since both see the same pixels.

    Args:
        model: As ``signature`` says.
        signature: What the model takes and gives.

    Raises:
        InputError: If it is the signature of another model.
    """

    def __init__(self, model: Model, signature: ModelSignature) -> None:
        _check_fit(model, signature)
        self.model = model
        """The plain Keras model."""
        self.signature = signature
        """What it takes and gives."""
        self._outputs = tf.function(
            Plain(model).__call__,
            autograph=False,
            input_signature=(tf.TensorSpec((None, *signature.image_shape), tf.uint8),),
        )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Predictor":
        """Return the predictor of a ``.keras`` file that a study's model was saved to.

        Loading a model may run code of whoever made the file: only of those you trust.

        Raises:
            InputError: If it is no such file, carries no signature, or cannot be loaded.
        """
        signature = read_signature(path)
        visible_gpus()  # else TensorFlow says here, on stderr, that there is none
        try:
            model = keras.models.load_model(path, compile=False)
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"saved model {fspath(path)!r} needs to be one that Keras loads, got: {reason}; "
                "with layers of your own load it yourself, and give it to Predictor"
            ) from error
        attach_signature(model, signature)
        return cls(model, signature)

    def predict(self, images: Images) -> list[Prediction]:
        """Return a prediction per image, in order; always a list, also for one image.

        Raises:
            InputError: At the first image that cannot be used, naming it.
        """
        return list(self.predict_each(images))

    def predict_each(self, images: Images) -> Iterator[Prediction]:
        """Yield a prediction per image, in order, holding one batch of images at a time.

        Raises:
            InputError: At the first image that cannot be used, naming it.
        """
        signature = self.signature
        rule = image_rule(
            signature.image_shape, depth=signature.depth, makes_grey=signature.is_made_grey
        )
        prepared = prepare_each(images, rule)
        size = evaluation_batch_size(self.signature.image_shape)
        while batch := tuple(islice(prepared, size)):
            yield from self._answers(batch)

    def _answers(self, batch: tuple[PreparedImage, ...]) -> Iterator[Prediction]:
        with our_keras():  # the first batch is traced
            outputs: dict[str, Any] = self._outputs(np.stack([image.pixels for image in batch]))
        sizes = [(image.height, image.width) for image in batch]
        predictions = head_predictions(self.signature, outputs, sizes)
        for image, heads in zip(batch, predictions, strict=True):
            yield Prediction(
                image=image.place, height=image.height, width=image.width, heads=heads
            )


def _check_fit(model: Model, signature: ModelSignature) -> None:
    """Refuse a signature of other outputs, or of images of another shape."""
    taken = tuple(model.inputs[0].shape)[1:]
    given = sorted(model.output) if isinstance(model.output, dict) else []
    wanted = sorted(head.name for head in signature.heads)
    if given != wanted or not fits(taken, signature.image_shape):
        raise InputError(
            f"a predictor needs the signature of its model, which takes images of {taken} and "
            f"gives {given}, got one of {signature.image_shape} and {wanted}"
        )
