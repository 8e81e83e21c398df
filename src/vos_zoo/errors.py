"""Every error that vos_zoo raises on purpose.

Each class also inherits the built-in exception that fits, so ``except ValueError`` keeps working.
A message has three parts: what was found, what was expected, and what to do.
"""


class VosZooError(Exception):
    """Base of all errors raised on purpose by this package."""


class ShapeError(VosZooError, ValueError):
    """Tensors or arrays whose shapes do not fit together."""


class EmptyMemoryError(VosZooError, RuntimeError):
    """A memory was read before anything was memorised."""


class MemoryBudgetError(VosZooError, ValueError):
    """A byte budget is too small for the least that a model has to remember."""


class VideoError(VosZooError, ValueError):
    """A video or a folder of frames that cannot be read, or has no frames."""


class MaskError(VosZooError, ValueError):
    """A mask that is not a map of object ids, or does not fit its frame."""


class PromptError(VosZooError, ValueError):
    """A prompt that lies outside its frame, contradicts another one, or leads to no mask."""


class MissingFileError(VosZooError, FileNotFoundError):
    """A file or folder that does not exist."""


class OutputExistsError(VosZooError, FileExistsError):
    """Writing would replace something that a user made."""


class OutputInUseError(VosZooError, BlockingIOError):
    """Another run is writing into the same folder at this moment."""


class ConfigError(VosZooError, ValueError):
    """A configuration with unknown keys, wrong types or values out of range."""


class UsageError(VosZooError, TypeError):
    """Something was called, or handed over, that is not meant for it."""


class UnknownModelError(VosZooError, KeyError):
    """A model or weight name that the registry does not hold."""

    def __str__(self) -> str:
        """Return the message as it is; KeyError would print its repr."""
        return str(self.args[0]) if self.args else ""


class CheckpointError(VosZooError, ValueError):
    """A weight file that is not what it claims to be, or does not fit its model."""


class HubError(VosZooError, OSError):
    """The Hugging Face Hub cannot be reached or refuses, or what it sends cannot be stored."""


class DataError(VosZooError, ValueError):
    """A data root that does not have the layout of its format."""


class EvaluationError(VosZooError, ValueError):
    """Results and annotations that cannot be compared."""


class ManifestError(VosZooError, ValueError):
    """A list of videos with rows that name no work, or the same work twice."""


class StoreError(VosZooError, OSError):
    """A store of files, such as a bucket, that cannot be reached or refuses."""


class LimitError(VosZooError, ValueError):
    """A server was asked for more than it gives."""


class OutOfMemoryError(VosZooError, MemoryError):
    """The device ran out of memory; the session that raised it stays usable."""


class MissingExtraError(VosZooError, ImportError):
    """An optional dependency is not installed."""


class RunStoppedError(VosZooError, RuntimeError):
    """A signal stopped a training or a prediction, which can be resumed.

    Args:
        message: What was saved where, and how to resume.
        signal_number: The signal.
    """

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class FailedVideosError(VosZooError, RuntimeError):
    """Some of many videos could not be segmented; the others are finished."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an exception of PyTorch, CUDA's libraries or Triton means that a device has too little memory left.

    PyTorch has a class for it, but its allocators for CPUs and for Apple's GPUs raise a plain RuntimeError, and so do
    cuBLAS and cuDNN when their own work space does not fit.

    Args:
        error: What was raised.

    Example:
        >>> is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"))
        True
    """
    text = str(error).lower()
    signs = ("not enough memory", "out of memory", "alloc_failed", "allocation_failed")
    return type(error).__name__ == "OutOfMemoryError" or any(sign in text for sign in signs)
