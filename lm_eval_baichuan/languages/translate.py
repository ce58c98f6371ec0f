"""Says sentences in the language asked for."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from .sentences import Joined, Sentence, say

LANGUAGES = ("en", "zh")
"""English says the forms themselves; for each other language a file holds what it says for each form."""


@functools.cache
def catalogue(language: str) -> Mapping[str, str]:
    """Return what a language says for each English form; nothing for English itself."""
    if language == "en":
        return {}
    groups = json.loads(resources.files(__package__).joinpath(f"{language}.json").read_text(encoding="utf-8"))
    return {form: said for group in groups.values() for form, said in group.items()}


class Translator:
    """Says sentences in one language."""

    def __init__(self, language: str) -> None:
        """Choose a language of `LANGUAGES`."""
        self.language = language
        self._forms = catalogue(language)

    def __call__(self, form: str, /, **values: Any) -> str:
        """Say a form with values, as `say` takes them."""
        return self.shown(say(form, **values))

    def shown(self, text: str) -> str:
        """Return a text as this language says it; what is no sentence (a name, a number, a question) stays as it is."""
        if not self._forms:
            return text
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


ENGLISH = Translator("en")
