"""The figures that Baichuan published, each with the place it stands in."""

from .tables import Benchmark, Figure, PublishedError, PublishedModel, PublishedTables, load_published

__all__ = ["Benchmark", "Figure", "PublishedError", "PublishedModel", "PublishedTables", "load_published"]
