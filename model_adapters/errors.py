"""The errors this package raises on purpose.

Every message names what was looked at (file, tensor, argument, row), what was found, what was expected, and what to do.
"""


class BaichuanError(ValueError):
    """Base class of all errors raised on purpose by this package."""


class CheckpointError(BaichuanError):
    """A checkpoint folder, shard, tensor or configuration is missing, damaged or contradictory."""


class TokenizerError(BaichuanError):
    """A tokenizer file is missing, damaged, or does not fit the model."""


class RequestError(BaichuanError):
    """A request cannot be asked of this model as it stands (label tokens, length, chat form)."""


class QuantizationError(BaichuanError):
    """A quantization that was asked for, or that a checkpoint brings, cannot be run here."""


class DoesNotFitError(BaichuanError):
    """By the estimate the run needs more memory than the device has free."""


class NonFiniteLogitsError(BaichuanError):
    """The model returned NaN or infinite logits, so no answer may be read from them."""
