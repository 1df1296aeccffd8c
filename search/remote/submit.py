"""Studies are sent to a cluster: a job with its request and the user's own modules, packed."""

import io
import os
import secrets
import shlex
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha1
from pathlib import Path

from search.errors import InputError, StudyLocked
from search.remote.jobs import KIND, Jobs, moment
from search.remote.questions import ask
from search.remote.request import CODE_FOLDER, COMMAND, REQUEST_FILE, JobRequest, check_place
from trainables.model.user_modules import user_folder_of
from trainables.storage.uri_keys import check_no_key

STOP_SECONDS = 120
"""How long a driver may take to end in order; Ray kills it then."""
MOST_BYTES = 100 * 2**20
"""What Ray's Jobs API takes in one request (ray 2.60)."""
MOST_FILES = 20_000
DATA = frozenset(
    {".arrow", ".bmp", ".feather", ".gif", ".jpeg", ".jpg", ".keras", ".parquet", ".png"}
    | {".h5", ".hdf5", ".tfrecord", ".tif", ".tiff", ".webp"}
)
"""Endings of files that are data, which stay where they are."""
SECRETS = frozenset({".key", ".pem", ".p12", ".pfx"})
NOT_SENT = DATA | SECRETS | {".pyc", ".pyo"}
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LARGEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A study that a cluster was given to run."""

    name: str
    job_id: str
    storage: str
    """As the cluster was told; empty for what its nodes say."""
    num_files: int
    """Of the user's own modules, which went along."""
    num_bytes: int
    """Of all that was sent."""


def send(
    jobs: Jobs, request: JobRequest, folder: str | None = None, apart_from: Sequence[str] = ()
) -> Submitted:
    """Submit a request as a job, with the modules of a folder apart from some paths."""
    name, storage = request.name, request.storage
    for what, place in (("storage", storage), *(("data", place) for place in apart_from)):
        check_no_key(what, place)
    if storage:
        check_place("storage", storage)
    refuse_running(jobs, name, storage)
    content, num_files = pack(request.to_json(), folder, apart_from=apart_from)
    # Named by the content, as Ray does it, so that the same is sent once.
    package = f"_ray_pkg_{sha1(content, usedforsecurity=False).hexdigest()}.zip"
    jobs.upload(package, content)
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    job_id = f"twohead-{name}-{now}-{secrets.token_hex(3)}"
    metadata = {KIND: "study", "name": name, "storage": storage, "version": request.version}
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
    environment = {"working_dir": f"gcs://{package}", "env_vars": variables}
    jobs.submit(
        job_id, f"exec {shlex.join([*COMMAND, 'run', REQUEST_FILE])}", metadata, environment
    )
    size = len(content)
    return Submitted(
        name=name, job_id=job_id, storage=storage, num_files=num_files, num_bytes=size
    )


def refuse_running(jobs: Jobs, name: str, storage: str) -> None:
    """Refuse a study that a job runs already, as far as its head can tell."""
    job = jobs.of_studies().get(name)
    if job is None or job.has_ended or job.storage.rstrip("/") != storage.rstrip("/"):
        return
    if job.status == "RUNNING" and not ask(jobs, "is_running", job_id=job.id):
        return
    raise StudyLocked(
        f"study {name!r} is being run on this cluster by job {job.id} since "
        f"{moment(job.began)}; wait for it (`twohead logs {name} --follow`) or stop it "
        f"(`twohead stop {name}`)"
    )


def pack(request: str, folder: str | None, *, apart_from: Sequence[str] = ()) -> tuple[bytes, int]:
    """Return an archive of a request and the modules of a folder, and how many these are.

    Refuse more than can be sent.
    Left out are hidden files, byte code, virtual environments, data, keys and studies, and the
    paths named, such as the data set's and the storage's.
    """
    files = {} if folder is None else dict(sorted(_files(folder, apart_from)))
    place = folder or ""
    _check_size(place, sum(files.values()), files)  # as it lies there, before it is packed
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_entry(REQUEST_FILE), request)
        for relative, size in files.items():
            content = _read(Path(place, relative), size)
            archive.writestr(_entry(f"{CODE_FOLDER}/{relative}"), content)
    content = target.getvalue()
    _check_size(place, len(content), files)
    return content, len(files)


def folder_of_model(model: str, folder: str) -> str:
    """Return the folder on this machine that has the module of a stored study's own model."""
    module = model.partition(":")[0]
    found = os.path.join(os.path.abspath(folder), module.partition(".")[0])
    if os.path.isdir(found) or os.path.isfile(f"{found}.py"):
        return os.path.abspath(folder)
    on_path = user_folder_of(module)
    if on_path is None:
        raise InputError(
            f"resuming a study with a model of its own ({model}) needs its module {module!r} in "
            f"the current folder, got none in {os.path.abspath(folder)}: it is sent from here, "
            "and never taken from the cluster's storage"
        )
    return on_path


def _entry(name: str) -> zipfile.ZipInfo:
    """Return what makes equal files an equal archive: no time, no owner."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _read(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size + 1)
    except OSError as error:
        raise InputError(f"own code needs files that can be read, got {path}: {error}") from None


def _files(folder: str, apart_from: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield what is sent: paths relative to the folder, and sizes in bytes."""
    apart = {os.path.realpath(path) for path in apart_from if "://" not in path}
    num = 0
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _is_wanted(Path(here, name), apart)]
        for name in names:
            path = os.path.join(here, name)
            if name.startswith(".") or os.path.splitext(name)[1].lower() in NOT_SENT:
                continue
            if os.path.realpath(path) in apart or not os.path.isfile(path):
                continue
            num += 1
            if num > MOST_FILES:
                raise InputError(
                    f"own code needs at most {MOST_FILES} files, got more in {folder}: put the "
                    "model's module into a folder of its own, and name that as module_folder"
                )
            yield os.path.relpath(path, folder), os.path.getsize(path)


def _is_wanted(folder: Path, apart: set[str]) -> bool:
    """Tell whether a folder is neither hidden nor made by a program, nor full of results."""
    if folder.name.startswith(".") or folder.name in {"__pycache__", "node_modules"}:
        return False
    if folder.suffix in {".egg-info", ".dist-info"} or os.path.realpath(folder) in apart:
        return False
    is_study = (folder / "study.json").is_file() and (folder / "log").is_dir()
    return not is_study and not (folder / "pyvenv.cfg").exists()


def _check_size(folder: str, size: int, files: dict[str, int]) -> None:
    if size <= MOST_BYTES:
        return
    largest = sorted(files.items(), key=lambda file: -file[1])[:_LARGEST]
    named = ", ".join(f"{path} ({one / 2**20:.1f} MiB)" for path, one in largest)
    raise InputError(
        f"own code needs at most {MOST_BYTES // 2**20} MiB to be sent, got {size / 2**20:.1f} MiB "
        f"in {folder}; the largest files are {named}: leave data at a URI, or put the model's "
        "module into a folder of its own and name that as module_folder"
    )
