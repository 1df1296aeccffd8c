"""One attempt at a trial: where it continues, what it keeps, and how it fails."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.support import stub_run
from trainables.errors import StorageError, UnfitNode
from trainables.model.user_model import UserModelError
from trainables.spec.settings import StudySettings
from trainables.storage.store import Store
from trainables.training.run import EpochResult
from trainables.trial import attempt as attempt_module
from trainables.trial import checkpoint, measurement
from trainables.trial.attempt import Attempt, Envelope

CONFIG = {"learning_rate": 0.01, "conv1_filters": 16}


@pytest.fixture(name="store")
def study_folder(tmp_path):
    store = Store(tmp_path / "study")
    store.put("study.json", b"{}")
    return store


def make(store, *, factory=stub_run.FACTORY, clock=None, rungs=(), **changes):
    values = {"number": 4, "attempt": 1, "generation": 1, "seed": 3, "epochs": 6}
    envelope = Envelope(**{**values, "config": CONFIG, **changes})
    settings = StudySettings(
        study=store.uri, storage=str(store.root.parent), factory=factory, rungs=rungs
    )
    return Attempt(envelope, settings, **({"clock": clock} if clock else {}))


def train(attempt, epochs):
    return [attempt.step() for _ in range(epochs)]


def fault(store, **what):
    store.root.parent.mkdir(parents=True, exist_ok=True)
    faults = {stub_run.key_of(CONFIG): what}
    (store.root.parent / "faults.json").write_text(json.dumps(faults))


def measured(store):
    found = [measurement.read(store, path) for path in store.list(measurement.FOLDER)]
    return sorted(found, key=lambda m: (m.attempt, m.epoch))


def kept_of(store):
    return tuple(m for m in measured(store) if m.checkpoint)


def folders(store):
    return {path.rpartition("/")[0] for path in store.list("checkpoints")}


def losses_of(measurements):
    return [dict(m.losses) for m in measurements]


def test_an_envelope_survives_the_way_to_the_actor(store):
    train(make(store), 2)
    kept = kept_of(store)
    envelope = Envelope(
        number=1, attempt=2, generation=3, config=CONFIG, seed=4, epochs=5, kept=kept
    )

    assert Envelope.from_json(envelope.to_json()) == envelope


def test_each_epoch_is_written_down_before_it_is_returned(store):
    attempt = make(store)

    for epoch in range(1, 7):
        newest = attempt.step()
        assert newest.epoch == epoch
        assert newest == measured(store)[-1]
        assert checkpoint.load(store, newest.checkpoint, sha256=newest.checkpoint_sha256)


@pytest.mark.parametrize("stop", range(1, 6))
def test_a_further_attempt_goes_on_where_the_last_one_was_and_measures_the_same(
    store, tmp_path, stop
):
    Store(tmp_path / "whole" / "study").put("study.json", b"{}")
    train(make(Store(tmp_path / "whole" / "study")), 6)
    whole = measured(Store(tmp_path / "whole" / "study"))

    train(make(store), stop)
    again = make(store, attempt=2, generation=2, kept=kept_of(store))

    assert [step.epoch for step in train(again, 6 - stop)] == list(range(stop + 1, 7))
    assert losses_of(measured(store)) == losses_of(whole)


class Scripted:
    """Gives the losses of a script."""

    losses: tuple[tuple[float, float], ...] = ()
    size = 1

    def __init__(self, *given, **options):
        self.epoch = 0

    def run_epoch(self):
        losses = dict(zip(stub_run.HEADS, self.losses[self.epoch], strict=True))
        self.epoch += 1
        return EpochResult(losses=losses, metrics={}, training_loss=1.0)

    def state(self):
        weights = np.full(self.size, self.epoch, dtype=np.float64)
        return {stub_run.WEIGHTS: weights, "optimizer/0000/variable": np.array(self.epoch)}

    def load_state(self, state, epoch):
        self.epoch = epoch


@pytest.fixture(name="scripted")
def scripted_factory(monkeypatch):
    def use(losses, **fields):
        kind = type("Chosen", (Scripted,), {"losses": losses, **fields})
        monkeypatch.setattr(attempt_module, "resolve_name", lambda target: kind)

    return use


TRADE_OFF = ((5, 5), (4, 6), (3, 7), (2, 8), (1, 9), (0, 10))
"""Every epoch of it is on the trial's own front, so that all checkpoints are kept."""


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda store, folder: store.delete(folder), id="missing"),
        pytest.param(lambda store, folder: store.delete(f"{folder}/manifest.json"), id="torn"),
        pytest.param(
            lambda store, folder: store.put(f"{folder}/weights.npz", b"\0" * 100), id="altered"
        ),
        pytest.param(
            lambda store, folder: checkpoint.save(
                store, folder, {stub_run.WEIGHTS: np.zeros(2)}, {}
            ),
            id="exchanged",
        ),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(store, scripted, damage):
    scripted(TRADE_OFF)
    train(make(store), 4)
    before, kept = measured(store), kept_of(store)
    damage(store, kept[3].checkpoint)

    again = make(store, attempt=2, kept=kept)
    steps = train(again, 3)

    assert [step.epoch for step in steps] == [4, 5, 6]
    assert steps[0].losses == before[3].losses
    assert kept[3].checkpoint not in folders(store)


def test_without_any_whole_checkpoint_an_attempt_begins_anew(store):
    train(make(store), 2)
    kept = kept_of(store)
    store.delete("checkpoints")

    assert [step.epoch for step in train(make(store, attempt=2, kept=kept), 2)] == [1, 2]


def test_of_two_checkpoints_of_one_epoch_the_later_attempts_is_taken(store, scripted):
    scripted(TRADE_OFF)
    train(make(store), 2)
    store.put(f"{kept_of(store)[1].checkpoint}/weights.npz", b"torn")
    damaged = kept_of(store)
    train(make(store, attempt=2, kept=damaged), 1)
    both = kept_of(store)
    assert [kept.epoch for kept in both] == [1, 2, 2]

    assert make(store, attempt=3, kept=both).step().epoch == 3
    assert make(store, attempt=4, kept=both[::-1]).step().epoch == 3


def epochs_kept(store):
    return sorted(int(folder[-4:]) for folder in folders(store))


def test_what_is_kept_is_the_trials_own_front_the_newest_and_what_that_supersedes(store, scripted):
    scripted(((5, 5), (3, 6), (4, 4), (6, 2), (7, 7), (8, 8)))
    attempt, kept = make(store), []

    for _ in range(6):
        attempt.step()
        kept.append(epochs_kept(store))

    assert kept == [[1], [1, 2], [1, 2, 3], [2, 3, 4], [2, 3, 4, 5], [2, 3, 4, 5, 6]]


def states_kept(store):
    paths = store.list("checkpoints")
    return sorted(int(path.split("/")[2][-4:]) for path in paths if path.endswith("training.npz"))


def test_of_the_front_the_weights_are_kept_and_of_the_newest_what_a_next_epoch_needs(
    store, scripted
):
    scripted(TRADE_OFF)
    attempt, kept = make(store), []

    for _ in range(6):
        attempt.step()
        kept.append(states_kept(store))

    assert kept == [[1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6]]
    for one in kept_of(store):
        weights = checkpoint.load_weights(store, one.checkpoint, sha256=one.checkpoint_sha256)
        assert weights[stub_run.WEIGHTS] == [one.epoch]


def test_a_further_attempt_drops_what_the_one_before_did_not_get_to(store, scripted):
    scripted(TRADE_OFF)
    train(make(store), 3)
    assert states_kept(store) == [2, 3]

    train(make(store, attempt=2, kept=kept_of(store)), 2)

    assert states_kept(store) == [4, 5]


def test_where_only_weights_are_left_an_attempt_begins_anew_and_repeats_them(store, scripted):
    scripted(TRADE_OFF)
    train(make(store), 3)
    kept, before = kept_of(store), losses_of(measured(store))
    for one in kept:
        checkpoint.drop_training(store, one.checkpoint)

    again = make(store, attempt=2, kept=kept)
    steps = train(again, 2)

    assert [step.epoch for step in steps] == [1, 2]
    assert losses_of(steps) == before[:2]
    left = {one.checkpoint for one in kept} & folders(store)
    assert left == {kept[1].checkpoint, kept[2].checkpoint}  # what is not repeated yet


def test_an_actor_that_is_cut_off_leaves_the_checkpoint_that_others_go_on_from(store, scripted):
    scripted(((9, 9), (8, 8), (7, 7), (6, 6)))
    cut_off = make(store)
    train(cut_off, 2)
    accepted = kept_of(store)

    cut_off.step()  # nobody hears of it, and nobody asks for another
    again = make(store, attempt=2, kept=accepted)

    assert again.step().epoch == 3
    assert checkpoint.load(store, accepted[-1].checkpoint, sha256=accepted[-1].checkpoint_sha256)


def test_a_further_attempt_keeps_the_front_of_all_attempts(store, scripted):
    scripted(((5, 5), (3, 6), (6, 4), (4, 4), (7, 7), (8, 8)))
    train(make(store), 3)

    train(make(store, attempt=2, kept=kept_of(store)), 3)

    assert epochs_kept(store) == [2, 4, 5, 6]


class FakeClock:
    """Passes the time of a save between any two looks at it."""

    def __init__(self, save):
        self.now, self.save = 0.0, save

    def __call__(self):
        self.now += self.save
        return self.now


@pytest.mark.parametrize(
    ("size", "save", "train", "rungs", "saved"),
    [
        pytest.param(10, 1.0, 6.0, (), [1, 2, 3, 4, 5, 6, 7, 8], id="small_states_always"),
        pytest.param(3_000_000, 0.0, 6.0, (), [1, 2, 3, 4, 5, 6, 7, 8], id="cheap_saves_always"),
        pytest.param(3_000_000, 1.0, 6.0, (), [1, 4, 7, 8], id="at_most_a_twentieth_of_the_time"),
        pytest.param(3_000_000, 1.0, 6.0, (3,), [1, 3, 6, 8], id="at_rungs"),
        pytest.param(3_000_000, 9.0, 30.0, (), [1, 4, 7, 8], id="every_two_minutes"),
    ],
)
def test_a_save_costs_a_twentieth_of_the_time_unless_the_state_is_small_or_it_is_late(
    store, scripted, monkeypatch, size, save, train, rungs, saved
):
    scripted(((1.0, 1.0),) * 8, size=size)
    monkeypatch.setattr(checkpoint, "save", lambda *given: "0" * 64)
    clock = FakeClock(save)
    attempt = make(store, clock=clock, rungs=rungs, epochs=8)

    for _ in range(8):
        attempt.step()
        clock.now += train

    assert [m.epoch for m in measured(store) if m.checkpoint] == saved


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        pytest.param(
            {"kind": "nan", "at": 3}, "val_c_output_loss became NaN in epoch 3", id="nan"
        ),
        pytest.param(
            {"kind": "inf", "at": 3, "head": 1},
            "val_r_output_loss became infinite in epoch 3",
            id="infinite",
        ),
        pytest.param(
            {"kind": "raise", "at": 3}, "RuntimeError: the stub was told to fail", id="error"
        ),
        pytest.param({"kind": "exit", "at": 3}, "SystemExit: 3", id="exit"),
    ],
)
def test_what_goes_wrong_in_a_training_is_returned_with_its_reason_in_one_line(
    store, what, reason
):
    fault(store, **what)
    attempt = make(store)

    steps = train(attempt, 3)

    assert steps[:2] == measured(store)
    assert steps[2].epoch == 3
    assert steps[2].reason.startswith(reason)
    assert "\n" not in steps[2].reason
    assert [m.epoch for m in measured(store)] == [1, 2]


def test_an_error_while_a_run_is_built_fails_the_trial(store):
    fault(store, kind="raise", at="open")

    step = make(store).step()

    assert step.epoch == 1
    assert step.reason.startswith("RuntimeError: the stub was told to fail")


def test_the_trace_of_an_error_is_kept_in_the_study(store):
    fault(store, kind="raise", at=2)

    train(make(store, attempt=2, generation=7), 2)

    trace = store.get("failures/000007-000004-002.txt").decode()
    assert "Traceback" in trace
    assert "in _misbehave" in trace


def test_the_reason_names_the_innermost_line_of_the_users_own_code(store, tmp_path):
    module = tmp_path / "own" / "own_model.py"
    module.parent.mkdir()
    module.write_text(
        "import json\n\n\ndef make(*given, **options):\n    return json.loads('{')\n"
    )
    attempt = make(store, factory="own_model:make")
    attempt._settings = replace(attempt._settings, module_folder=str(module.parent))

    step = attempt.step()

    assert step.reason.endswith(f"({module}:5)")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        type("ResourceExhaustedError", (Exception,), {})("failed to allocate 3 GB"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3 bytes."),
    ],
    ids=["python", "tensorflow", "xla"],
)
def test_running_out_of_memory_is_called_so(store, scripted, error):
    def run_epoch(self):
        raise error

    scripted((), run_epoch=run_epoch)

    step = make(store).step()

    assert step.reason.startswith("out of memory: ")
    assert step.is_out_of_memory


def test_a_users_model_that_ran_out_of_memory_while_it_was_built_is_called_so(store, scripted):
    lack = type("ResourceExhaustedError", (Exception,), {})("failed to allocate 3 GB")

    def run_epoch(self):
        raise UserModelError("model 'mine:build' failed with it (mine.py:7)") from lack

    scripted((), run_epoch=run_epoch)

    step = make(store).step()

    assert step.reason == "out of memory: model 'mine:build' failed with it (mine.py:7)"
    assert step.is_out_of_memory


def test_another_failure_is_not_taken_for_a_lack_of_memory(store, scripted):
    def run_epoch(self):
        raise RuntimeError("memory is fine")

    scripted((), run_epoch=run_epoch)

    assert not make(store).step().is_out_of_memory


def test_an_attempt_that_was_given_more_of_a_gpu_trains_with_it(store):
    fault(store, kind="memory", at=1, needs=0.5)
    tight, roomy = make(store), make(store, gpu=0.5)
    for attempt in (tight, roomy):
        attempt._settings = replace(attempt._settings, gpu=0.25)

    assert tight.step().reason == "out of memory: the stub needs 0.5 of a GPU"
    assert roomy.step() == measured(store)[-1]


def test_a_state_that_cannot_be_kept_fails_the_trial_and_not_the_study(store, scripted):
    scripted(((1.0, 1.0),), state=lambda self: {"weights": np.array([object()])})

    assert "needs arrays of plain numbers" in make(store).step().reason


@pytest.mark.parametrize("fails", ["put", "put_new", "get"])
def test_errors_of_the_storage_are_raised(store, fails, monkeypatch):
    train(make(store), 2)
    attempt = make(store, attempt=2, kept=kept_of(store))

    def refuse(*given, **options):
        raise StorageError("no room left")

    monkeypatch.setattr(Store, fails, refuse)

    with pytest.raises(StorageError, match="no room left"):
        attempt.step()


def test_the_first_epoch_says_what_came_before_it_and_no_other_does(store):
    train(make(store), 2)

    first, second = measured(store)
    assert {"start", "open", "train", "save"} <= first.seconds.keys()
    assert not {"start", "open"} & second.seconds.keys()


def test_two_attempts_never_write_to_the_same_place(store):
    train(make(store, epochs=1), 1)
    envelopes = [{"attempt": 2}, {"generation": 2}, {"number": 5}]

    for change in envelopes:
        train(make(store, epochs=1, **change), 1)

    assert len(measured(store)) == len(folders(store)) == 1 + len(envelopes)


def test_a_kept_checkpoint_is_never_deleted_before_the_newer_one_is_recorded(store, monkeypatch):
    attempt = make(store)
    attempt.step()
    first = kept_of(store)[0]
    monkeypatch.setattr(
        attempt_module,
        "write_measurement",
        lambda *given: (_ for _ in ()).throw(SystemError("cut")),
    )

    attempt.step()

    assert checkpoint.load(store, first.checkpoint, sha256=first.checkpoint_sha256)


def test_a_node_that_does_not_see_the_study_writes_nothing_and_says_so(store):
    store.delete("study.json")

    with pytest.raises(UnfitNode, match=r"node .* does not see the study .*mount its storage"):
        make(store).step()

    assert store.list() == []


def test_on_a_node_that_is_about_to_go_every_epoch_is_saved(store, scripted, monkeypatch):
    scripted(((1.0, 1.0),) * 8, size=3_000_000)
    monkeypatch.setattr(checkpoint, "save", lambda *given: "0" * 64)
    attempt = make(store, clock=FakeClock(1.0), epochs=8)
    attempt._is_leaving = lambda: attempt._run is not None and attempt._run.epoch >= 4

    saved = [attempt.step() and attempt.is_saved for _ in range(6)]

    assert saved == [True, False, False, True, True, True]


def test_an_attempt_that_has_just_continued_is_saved_already(store):
    train(make(store), 2)
    again = make(store, attempt=2, kept=kept_of(store))

    again._run = again._open()

    assert again.is_saved
