"""Studies on a cluster, from a machine that need not reach its storage; `search.connect`."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, final

from search.errors import ClusterError, InputError, SearchError
from search.remote.connection import Connection
from search.remote.jobs import Jobs
from search.remote.questions import ANSWER_SECONDS, CommandOutput, StudyStatus, ask, read_answer
from search.remote.request import (
    JobRequest,
    check_place,
    folder_here,
    is_place,
    place_and_name,
    storage_there,
)
from search.remote.submit import STOP_SECONDS, Submitted, folder_of_model, refuse_running, send
from search.results.load import given_study, load
from search.results.points import Point
from search.study.digits_study import is_digits
from search.study.study import Study
from trainables.storage.retry import within
from trainables.storage.uri_keys import check_no_key

FOLLOW_SECONDS = 1.0
READ_SECONDS = 20.0
"""So long a study may take to be read before the cluster is asked: it is nearer to its storage."""
TEST_SECONDS = 1800.0
"""How long an answer may take where a model is measured for it."""


@final
class Client(AbstractContextManager["Client"]):
    """The studies of one cluster; made by `search.connect`. A context manager.

    Every method raises `ClusterError` if the cluster cannot be reached or is gone for too long.

    Args:
        address: A URL, ``host:port``, or the file that `ray up` was given; None for what
            ``RAY_API_SERVER_ADDRESS`` says, else ``http://127.0.0.1:8265``.
        storage: Where studies lie, a URI; None for what the cluster's nodes say. Where this
            machine can read it, results are read directly.

    Raises:
        InputError: If it is no address, or the token is not safe.
        ClusterError: If nothing answers there.
        TokenRefused: If the cluster wants another token.
    """

    def __init__(
        self, address: str | os.PathLike[str] | None = None, *, storage: str | None = None
    ) -> None:
        self._storage = _checked_storage(storage)
        self._is_storage_near = bool(self._storage)
        self._connection = Connection(address)
        self._jobs = Jobs(self._connection)

    def submit(
        self,
        study: Study | str | os.PathLike[str] | Mapping[str, Any],
        *,
        storage: str | None = None,
        retry_failed: bool = False,
    ) -> Submitted:
        """Have the cluster run a study, or go on with it; return at once.

        The default storage means the cluster's own. If the study has a model function of
        its own, the modules of its folder go along; the bundled digits are written there.

        Args:
            study: What to search: a `Study`, a study file's path, or a mapping with its keys.
            storage: A URI, or a path on the cluster; None: the study's.
            retry_failed: Whether to train failed trials of a study that is there again.

        Raises:
            InputError: If the study holds a secret or its modules are too large.
            StudyLocked: If the cluster runs a study of this name already.
        """
        study = given_study(study)
        said = storage or self._storage or storage_there(study.storage)
        values = {**study.to_dict(), "storage": "", "module_folder": None}
        if is_digits(study):
            values["data"] = ""
        request = JobRequest(
            study=values, name=study.name, storage=said, retry_failed=retry_failed
        )
        folder = study.module_folder if study.model is not None else None
        return send(self._jobs, request, folder, (study.data, study.storage, *study.warm_start))

    def resume(
        self,
        study: str | Study,
        *,
        trials: int | None = None,
        epochs: int | None = None,
        data: str | None = None,
        folder: str = ".",
        retry_failed: bool = False,
    ) -> Submitted:
        """Have the cluster go on with a study, with a larger budget perhaps; return at once.

        Args:
            study: Its name or its folder, or the study itself.
            trials: How many in all.
            epochs: Of a whole trial.
            data: Where its data set is now, a URI or a path on the cluster; None: where the study
                finds it.
            folder: Where the modules of a study with a model function of its own are found,
                which are never taken from the cluster's storage.
            retry_failed: Whether to train its failed trials again.

        Raises:
            InputError: If there is no such study.
            StudyLocked: If the cluster runs it already.
        """
        if isinstance(study, Study):
            grown = study.with_budget(trials=trials, epochs=epochs)
            return self.submit(grown.with_data(data), retry_failed=retry_failed)
        storage, study = self._find(study)
        refuse_running(self._jobs, study, storage)
        model = ask(self._jobs, "model", storage=storage, name=study)
        if data is not None:
            check_place("data", data)
        request = JobRequest(
            name=study,
            storage=storage,
            trials=trials,
            epochs=epochs,
            data=data or "",
            retry_failed=retry_failed,
        )
        own = None if model is None else folder_of_model(model, folder)
        return send(self._jobs, request, own)

    def status(self, name: str) -> StudyStatus:
        """Return where a study stands.

        Raises:
            InputError: If the cluster knows nothing of it.
        """
        storage, name = self._find(name)
        told = ask(self._jobs, "status", storage=storage, name=name)
        known = read_answer(told, StudyStatus)
        job = self._jobs.of_studies().get(name)
        if job is not None:
            return known.with_job(job, self._jobs.last_words(job))
        if known.state == "not begun":
            raise InputError(
                f"a study needs to have been submitted, got {name!r}, of which the cluster at "
                f"{self.address} has neither a job nor a folder ({known.folder})"
            )
        return known

    def studies(self) -> tuple[StudyStatus, ...]:
        """Return where each study of the cluster stands, by name."""
        others = sorted({job.storage for job in self._jobs.of_studies().values()} - {""})
        told = ask(self._jobs, "studies", storage=self._storage, others=others)
        known = {one.name: one for one in read_answer(told, tuple[StudyStatus, ...])}
        jobs = self._jobs.of_studies()
        return tuple(
            known.get(name, StudyStatus(name=name, state="not begun")).with_job(jobs.get(name))
            for name in sorted({*jobs, *known})
        )

    def logs(self, name: str, *, follow: bool = False) -> Iterator[str]:
        """Return the lines that a study's newest job has printed.

        Args:
            name: Of the study.
            follow: Whether to go on until the job ends.

        Raises:
            InputError: If there is no job.
        """
        job, seen = self._jobs.of_study(name), 0
        while True:
            now = self._jobs.job(job.id)
            log = self._jobs.logs(job.id)
            is_last = not follow or now is None or now.has_ended
            end = len(log) if is_last else max(seen, log.rfind("\n") + 1)
            yield from log[seen:end].splitlines()
            seen = end
            if is_last:
                return
            time.sleep(FOLLOW_SECONDS)

    def wait(self, name: str, *, seconds: float | None = None) -> StudyStatus:
        """Wait for a study's newest job to end, and return where the study stands then.

        Args:
            name: Of the study.
            seconds: How long at most; None: as long as it takes.

        Raises:
            InputError: If there is no job.
            ClusterError: If it does not end in time.
        """
        job = self._jobs.of_study(name)
        end = None if seconds is None else time.monotonic() + seconds
        while (now := self._jobs.job(job.id)) is not None and not now.has_ended:
            if end is not None and time.monotonic() >= end:
                raise ClusterError(f"study {name!r} (job {job.id}) still runs after {seconds:g} s")
            time.sleep(FOLLOW_SECONDS)
        return self.status(name)

    def stop(self, name: str) -> StudyStatus:
        """Have a study's job end in order, and wait for it.

        What is measured is kept; `resume` goes on.

        Raises:
            InputError: If no job of it runs.
            ClusterError: If it does not end.
        """
        job = self._jobs.of_study(name)
        if job.has_ended:
            raise InputError(f"study {name!r} needs a running job to stop, got {job.in_words()}")
        self._jobs.stop(job.id)
        return self.wait(name, seconds=STOP_SECONDS + 60.0)

    def best(self, name: str, **policy: Any) -> Point:
        """Return the best point of a study; see `StudyResult.best`.

        Raises:
            NoCandidate: If no trial has a point.
            InputError: If there is no such study, or the policy cannot be.
        """
        storage, known = self._find(name)
        if self._is_storage_near:
            point = self._read_best(folder_here(storage, known), policy)
            if point is not None:
                return point
        told = ask(self._jobs, "point", storage=storage, name=known, policy=policy)
        return read_answer(told, Point)

    def best_config(self, name: str, **policy: Any) -> dict[str, Any]:
        """Return the config of the best point; see `best`."""
        return dict(self.best(name, **policy).config)

    def relay(
        self, command: str, arguments: Mapping[str, Any], *, columns: int | None = None
    ) -> CommandOutput:
        """Run a `twohead` command on the cluster that only reads, and return what it printed.

        Args:
            command: ``best``, ``show``, ``list`` or ``doctor``.
            arguments: As `search.cli.main` parses them, with a study's name in the place of
                its folder.
            columns: Of the terminal that shall show it; None for a file's.
        """
        storage, folder = self._storage, arguments.get("folder")
        if folder and not is_place(folder):
            storage, _ = self._find(folder)
        told = ask(
            self._jobs,
            "command",
            storage=storage,
            seconds=TEST_SECONDS if arguments.get("test") else ANSWER_SECONDS,
            name=command,
            arguments=arguments,
            columns=columns,
        )
        return read_answer(told, CommandOutput)

    @property
    def address(self) -> str:
        """The URL of the cluster's dashboard, or of the tunnel to it."""
        return self._connection.address

    def close(self) -> None:
        """Leave the cluster; what it runs goes on."""
        self._connection.close()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _find(self, said: str) -> tuple[str, str]:
        """Return where a study lies, as its folder, we or its newest job say, and its name."""
        storage, name = place_and_name(said)
        if storage or self._storage:
            return storage or self._storage, name
        job = self._jobs.of_studies().get(name)
        return "" if job is None else job.storage, name

    def _read_best(self, folder: str, policy: Mapping[str, Any]) -> Point | None:
        """Return the best point as it is read from here; None if it cannot be.

        A storage that did not answer once is not asked again.
        """
        try:
            result = within(READ_SECONDS, lambda: load(folder))
        except TimeoutError:
            self._is_storage_near = False
            return None
        except SearchError:
            return None
        return result.best(**policy)


def _checked_storage(storage: str | None) -> str:
    """Return a storage as it is named to others, empty for none."""
    if storage is None:
        return ""
    if not isinstance(storage, str):
        raise InputError(f"storage needs a URI or a path as text, got {storage!r}")
    check_no_key("storage", storage)
    return storage if "://" in storage else os.path.abspath(os.path.expanduser(storage))
