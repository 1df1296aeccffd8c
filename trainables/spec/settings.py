"""What all trials of a study share, as it travels to the processes that train them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.spec.heads import HeadSpec
from trainables.spec.trial import TrialSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """What all trials of a study share: how a config is parsed and built, and how it is run."""

    study: str
    """The URI of the study's folder."""
    storage: str
    """The URI below which the decoded data lie."""
    fingerprint: str = ""
    """Of the decoded data."""
    image_shape: tuple[int, int, int] = (1, 1, 1)
    """Height, width, channels."""
    heads: tuple[HeadSpec, ...] = ()
    model: str | None = None
    """A user's own function; None: the built-in model."""
    reference_model: str | None = None
    """The same of the reference trial, which may be of another model than the others."""
    module_folder: str | None = None
    precision: str = "float32"
    signature: Mapping[str, Any] = field(default_factory=dict)
    """Of every model, as it is kept with each checkpoint."""

    factory: str = ""
    """``module:function`` of what makes a run: a `RunFactory`."""
    rungs: tuple[int, ...] = ()
    """The epochs at which the scheduler decides."""
    cpu: int = 1
    """Threads of a trial."""
    gpu: float = 0
    gpu_usable_bytes: int = 0
    """Of each GPU, for all trials on it; 0 where shares were not measured."""
    gpu_outside_bytes: int = 0
    """What a process takes of a GPU besides TensorFlow's own part."""
    recycle_bytes: int | None = None
    """The memory from which on a process is ended before it takes another trial."""
    copy_data: bool = False
    """Whether each node copies the decoded data to a disk of its own."""

    @property
    def gpu_limit_bytes(self) -> int | None:
        """What TensorFlow may take of a GPU for a trial; None for no limit.

        Only where shares were measured is it known what they are; a trial that has a whole GPU
        may take all of it.
        """
        is_limited = self.gpu_usable_bytes and 0 < self.gpu < 1
        limit = int(self.gpu * self.gpu_usable_bytes) - self.gpu_outside_bytes
        return limit if is_limited else None

    def trial_spec(self, config: Mapping[str, Any], *, is_reference: bool) -> TrialSpec:
        """Parse a config with the heads and the image shape of the study's data."""
        return TrialSpec.from_config(
            config,
            image_shape=self.image_shape,
            heads=self.heads,
            model=self.reference_model if is_reference else self.model,
        )
