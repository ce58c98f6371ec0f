"""The errors this package raises on purpose: one small tree.

::

    EvaluationError
    ├── OptionError             (ValueError)       an option or argument is unknown, of a wrong kind or out of range
    ├── CheckpointError         (ValueError)       a checkpoint's file, tensor or configuration is missing or wrong
    │   ├── TokenizerError                         its tokenizer is, or does not fit the model
    │   └── QuantizationError                      its quantization, brought or asked for, cannot be run here
    ├── UnsupportedModelError   (ValueError)       a model computes what the token trie cannot serve
    ├── RequestError            (ValueError)       a request cannot be asked of this model as it stands
    ├── WrongScoresError        (ArithmeticError)  scores would be wrong
    │   ├── NonFiniteLogitsError                   the model returned NaN or infinite logits
    │   └── CertificateError                       the fast way and the plain way give different scores
    ├── DoesNotFitError         (MemoryError)      by the estimate a run needs more memory than there is
    ├── EngineError             (RuntimeError)     an engine in a process of its own did not start, or has ended
    ├── MissingExtraError       (ImportError)      a library that only this option needs is not installed
    ├── CacheError              (ValueError)       a cache holds another run's answers
    ├── PlaceError              (OSError)          what a run gives cannot be written where it should go
    ├── ResultsError            (ValueError)       a results file cannot be read, or does not hold what is asked of it
    ├── PublishedError          (ValueError)       a published table does not have what was asked of it
    └── DataError               (ValueError)       questions are missing, damaged, or cannot be had

Every message names what was looked at (file, tensor, argument, row), what was found, what was expected, and what to do.
"""


class EvaluationError(Exception):
    """Base class of all errors raised on purpose by this package."""


class OptionError(EvaluationError, ValueError):
    """An option or argument is unknown, of a wrong kind or out of range."""


class CheckpointError(EvaluationError, ValueError):
    """A checkpoint folder, shard, tensor or configuration is missing, damaged or contradictory."""


class TokenizerError(CheckpointError):
    """A tokenizer file is missing, damaged, or does not fit the model."""


class QuantizationError(CheckpointError):
    """A quantization that was asked for, or that a checkpoint brings, cannot be run here."""


class UnsupportedModelError(EvaluationError, ValueError):
    """A model computes something that the token trie cannot serve exactly."""


class RequestError(EvaluationError, ValueError):
    """A request cannot be asked of this model as it stands (label tokens, length, chat form)."""


class WrongScoresError(EvaluationError, ArithmeticError):
    """Scores would be wrong, so none are given."""


class NonFiniteLogitsError(WrongScoresError):
    """The model returned NaN or infinite logits, so no answer may be read from them."""


class CertificateError(WrongScoresError):
    """Two ways of computing the same scores disagree by more than their arithmetic explains.

    Attributes:
        request: The number of the request they disagree on.
    """

    def __init__(self, message: str, request: int) -> None:
        """Remembers the request."""
        super().__init__(message)
        self.request = request


class DoesNotFitError(EvaluationError, MemoryError):
    """By the estimate the run needs more memory than the device has free."""


class EngineError(EvaluationError, RuntimeError):
    """An engine that computes answers in a process of its own did not start, or ended before its last answer."""


class MissingExtraError(EvaluationError, ImportError):
    """A library that only this option needs is not installed."""


class CacheError(EvaluationError, ValueError):
    """A cache of answers was filled by another model or under other settings, or does not say by which."""


class PlaceError(EvaluationError, OSError):
    """A place to write to is missing, full, read-only, or another process writes there."""


class ResultsError(EvaluationError, ValueError):
    """A results file cannot be read, or does not hold what is asked of it."""


class PublishedError(EvaluationError, ValueError):
    """A published table does not have what was asked of it."""


class DataError(EvaluationError, ValueError):
    """Questions are missing, damaged, or cannot be had."""
