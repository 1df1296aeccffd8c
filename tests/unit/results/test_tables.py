"""Trials as a table."""

from types import SimpleNamespace

from search.results.result import study_table


def trial(number, **config):
    measured = SimpleNamespace(
        epoch=1, losses={"n": 0.5}, metrics={}, loss=0.5, seconds={"train": 1.0}
    )
    return SimpleNamespace(
        number=number, state="complete", is_reference=False, config=config, measurements=[measured]
    )


def test_the_filters_of_a_block_that_a_config_does_not_have_are_null_beside_the_others():
    shallow = trial(0, num_conv_blocks=1, conv1_filters=8)
    deep = trial(1, num_conv_blocks=2, conv1_filters=8, conv2_filters=16)

    table = study_table([shallow, deep], ["n"])

    assert table.column_names == [
        *("number", "epoch", "state", "is_reference"),
        *("num_conv_blocks", "conv1_filters", "conv2_filters"),
        *("val_n_loss", "loss", "seconds", "seconds_train"),
    ]
    assert table["conv2_filters"].to_pylist() == [None, 16]


def test_a_study_without_a_measurement_has_an_empty_table():
    assert study_table([], ["n"]).num_columns == 0
