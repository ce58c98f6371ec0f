"""Reads what lm-eval writes: results files, folders of them, and logged samples."""

from ..model_adapters.errors import ResultsError
from .certificates import Certificate, certificates
from .draws import Draws
from .files import ResultsFile, TaskResult, read_results_file
from .logged import read_logged
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
    "read_logged",
    "read_results_file",
    "read_runs",
    "suite_title",
    "suites_of",
    "unpublished_questions",
]
