"""Says sentences in the language asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .sentences import Joined, Sentence, say

LANGUAGES: dict[str, Mapping[str, str]] = {"en": {}}
"""For each language what it says for each English form; English says the form itself."""


class Translator:
    """Says sentences in one language."""

    def __init__(self, language: str) -> None:
        """Choose a language of `LANGUAGES`."""
        self.language = language
        self._forms = LANGUAGES[language]

    def __call__(self, form: str, /, **values: Any) -> str:
        """Say a form with values, as `say` takes them."""
        return self.shown(say(form, **values))

    def shown(self, text: str) -> str:
        """Return a text as this language says it; what is no sentence (a name, a number, a question) stays as it is."""
        if not self._forms:
            return str(text)
        if isinstance(text, Joined):
            return self._forms.get(text.form, text.form).join(map(self.shown, text.parts))
        if not isinstance(text, Sentence):
            return text
        form = self._forms.get(text.form, text.form)
        if not text.values:
            return form
        return form.format(**{name: self._value(value) for name, value in text.values.items()})

    def _value(self, value: Any) -> Any:
        return self.shown(value) if isinstance(value, str) else value


def translator(language: str) -> Translator:
    """Return the translator of a language of `LANGUAGES`."""
    return Translator(language)
