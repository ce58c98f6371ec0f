"""What the commands and the page say, in each language."""

from .sentences import Sentence, joined, say
from .translate import LANGUAGES, Translator, translator

__all__ = ["LANGUAGES", "Sentence", "Translator", "joined", "say", "translator"]
