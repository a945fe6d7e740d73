"""Every error that retop raises on purpose.

    RetopError                      exit code
    ├── UsageError                  2   options that contradict each other or do not exist
    │   └── RecipeError             2   a recipe that cannot be read or is refused
    ├── DataError                   3   the images or their labels
    │   ├── ClassMismatchError      3   splits disagree about the classes
    │   └── UnreadableImageError    3   one image; counted and named, not fatal, while a folder is read
    ├── BackboneError               4   a network
    │   ├── UnknownBackboneError    4   no such name
    │   ├── WeightsError            4   weights that are missing, damaged or of another network
    │   └── NotTraceableError       4   the graph cannot be split; the whole-network loop takes over
    ├── StoreError                  5   the activation store
    ├── ModelFolderError            6   a model folder that cannot be loaded
    ├── RunError                    7   a run or comparison
    │   ├── RunExistsError          7   the output folder holds another run
    │   ├── RunBusyError            7   another process is at work on it
    │   ├── OutputError             7   the output folder cannot be written
    │   ├── DamagedError            7   a file of the output folder is empty or cut short
    │   ├── MemoryRunError          7   not enough memory, even for one image at a time
    │   └── DivergedError           7   the loss or the weights are no longer finite
    ├── StoppedError              130   somebody asked to stop
    ├── ExportError                 8   an exported file that cannot be made or does not answer as the model does
    ├── ServingError                9   a server that cannot start
    └── SchemaError                 2   plain data that does not fit the dataclass it is read into

Each message says what is wrong, what was received, and the way out.
"""


class RetopError(Exception):
    """Root of all errors that retop raises on purpose.

    Attributes:
        exit_code: what the command line returns for it.
    """

    exit_code = 1


class UsageError(RetopError):
    """Options that contradict each other, are out of range or do not exist."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that cannot be read, has unknown keys or contradicts itself."""


class DataError(RetopError):
    """Images or labels that cannot be used."""

    exit_code = 3


class ClassMismatchError(DataError):
    """Train, validation and test do not hold the same classes."""


class UnreadableImageError(DataError):
    """One image cannot be decoded.

    Attributes:
        path: the image's path as the source names it.
        reason: why, in words.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class BackboneError(RetopError):
    """A network that cannot be built, cut or used."""

    exit_code = 4


class UnknownBackboneError(BackboneError):
    """No network of that name."""


class WeightsError(BackboneError):
    """Weights that are missing, damaged, or belong to another network."""


class NotTraceableError(BackboneError):
    """The network's graph cannot be recorded or split."""


class StoreError(RetopError):
    """The activation store cannot be read or written."""

    exit_code = 5


class ModelFolderError(RetopError):
    """A model folder that is incomplete, damaged, hostile or of an unknown version."""

    exit_code = 6


class RunError(RetopError):
    """A run or a comparison that cannot go on."""

    exit_code = 7


class RunExistsError(RunError):
    """The output folder already holds a different run."""


class RunBusyError(RunError):
    """Another process is at work in the output folder."""


class OutputError(RunError):
    """The output folder cannot be written: no space, no permission, or it is gone."""


class DamagedError(RunError):
    """A file of the output folder is not what was written: empty, cut short, overwritten."""


class MemoryRunError(RunError):
    """Not enough memory, even for one image at a time."""


class DivergedError(RunError):
    """Loss, gradient or weights are no longer finite."""


class StoppedError(RetopError):
    """Ctrl-C or SIGTERM: everything is saved, and the run can be resumed."""

    exit_code = 130


class ExportError(RetopError):
    """A format that cannot hold the model, or a file whose answers are not the model's."""

    exit_code = 8


class ServingError(RetopError):
    """A server that cannot start, or must not."""

    exit_code = 9


class SchemaError(RetopError):
    """Plain data that does not fit the dataclass it is read into; parts translate it into an error of their own."""

    exit_code = 2
