"""The figures that Baichuan published, each with the place it stands in."""

from ..model_adapters.errors import PublishedError
from .questions import published_questions
from .tables import Benchmark, Figure, PublishedModel, PublishedTables, load_published

__all__ = [
    "Benchmark",
    "Figure",
    "PublishedError",
    "PublishedModel",
    "PublishedTables",
    "load_published",
    "published_questions",
]
