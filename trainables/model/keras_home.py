"""What Keras reads when it is imported, settled before that, in whatever process."""

import os


def settle_keras() -> None:
    """Have Keras run on TensorFlow, whatever the user's environment and files say.

    And have it read no settings where its user has no home that can be written. It would read
    them from ``/tmp/.keras``, and write them there: any user may have put others in their place, a
    pipe or a link (keras 3.15). A ``KERAS_HOME`` that the user has set stays.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["KERAS_NNX_ENABLED"] = "false"  # else it wants JAX's packages (keras 3.15)
    if not os.access(os.path.expanduser("~"), os.W_OK):
        os.environ.setdefault("KERAS_HOME", os.devnull)
