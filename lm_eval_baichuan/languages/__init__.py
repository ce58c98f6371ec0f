"""What the commands and the page say, in each language."""

from .sentences import Sentence, joined, say
from .translate import ENGLISH, LANGUAGES, Translator, catalogue

__all__ = ["ENGLISH", "LANGUAGES", "Sentence", "Translator", "catalogue", "joined", "say"]
