"""Where Keras reads its settings from, settled before it is imported, in whatever process."""

import os


def settle_keras_home() -> None:
    """Have Keras read no settings where its user has no home that can be written.

    It would read them from ``/tmp/.keras``, and write them there: any user may have put others in
    their place, a pipe or a link (keras 3.15). What the variable says already stays.
    """
    if not os.access(os.path.expanduser("~"), os.W_OK):
        os.environ.setdefault("KERAS_HOME", os.devnull)
