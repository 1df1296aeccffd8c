"""Parameters of every kind, for tests that draw them."""

from hypothesis import strategies as st

from search.space.parameters import Choice, Float, Int


@st.composite
def kinds(draw):
    """Return a parameter of any kind."""
    what = draw(st.sampled_from(["float", "log", "step", "int", "log_int", "int_step", "choice"]))
    low = draw(st.integers(1, 50))
    width = draw(st.integers(0, 200))
    if what == "float":
        return Float(low=low - 25.5, high=low - 25.5 + width)
    if what == "log":
        return Float(low=low / 1000, high=low / 1000 * (1 + width), log=True)
    if what == "step":
        return Float(low=low / 10, high=low / 10 + width * 0.1, step=0.1)
    if what == "int":
        return Int(low=low - 25, high=low - 25 + width)
    if what == "log_int":
        return Int(low=low, high=low + width, log=True)
    if what == "int_step":
        return Int(low=low, high=low + width, step=draw(st.integers(1, 7)))
    values = draw(
        st.lists(st.integers(-9, 9), min_size=1, max_size=6, unique=True)
        | st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)
    )
    return Choice(values=tuple(values))


def shares():
    """Return a strategy for shares, the first and the last one among them."""
    return st.floats(0, 1, exclude_max=True) | st.sampled_from([0.0, 1 - 2**-53])
