"""Reads what lm-eval writes: results files, folders of them, and logged samples."""

from ..model_adapters.errors import ResultsError
from .certificates import Certificate, certificates, read_certificate
from .draws import Draws
from .files import ResultsFile, TaskResult, read_results_file
from .logged import read_logged
from .marks import Mark, Marks, read_marks
from .measures import Measure
from .questions import other_questions, unpublished_questions
from .runs import Run, read_runs
from .samples import Answer, read_answers
from .suites import AVERAGE, Part, Suite, find_suite, known_suites
from .ties import Ties, count_ties
from .titles import suite_title, suites_of

__all__ = [
    "AVERAGE",
    "Answer",
    "Certificate",
    "Draws",
    "Mark",
    "Marks",
    "Measure",
    "Part",
    "ResultsError",
    "ResultsFile",
    "Run",
    "Suite",
    "TaskResult",
    "Ties",
    "certificates",
    "count_ties",
    "find_suite",
    "known_suites",
    "other_questions",
    "read_answers",
    "read_certificate",
    "read_logged",
    "read_marks",
    "read_results_file",
    "read_runs",
    "suite_title",
    "suites_of",
    "unpublished_questions",
]
