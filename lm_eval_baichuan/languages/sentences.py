"""English text that remembers what it was made of, so that another language can say the same where it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Sentence(str):
    """A text in English, made of a form and values; it is compared, joined and written as the text it is."""

    __slots__ = ("form", "values")

    form: str
    """The text with names in braces where values stand, as `str.format` takes it."""
    values: dict[str, Any]

    def __new__(cls, text: str, form: str, values: dict[str, Any]) -> Sentence:
        """Make a sentence of its parts; `say` is the way to write one."""
        sentence = super().__new__(cls, text)
        sentence.form = form
        sentence.values = values
        return sentence

    def __copy__(self) -> Sentence:
        """Nothing in a sentence changes."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Sentence:
        """Nothing in a sentence changes."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the form and values along."""
        return (Sentence, (str(self), self.form, self.values))


def say(form: str, /, **values: Any) -> Sentence:
    """Return a sentence. The form has to be written out where this is called: tests look there for what to translate.

    Args:
        form: English, with names in braces where values stand: ``"{asked} of {available} questions"``.
        values: The values; a value that is a sentence is translated with the one around it.
    """
    return Sentence(form.format(**values) if values else form, form, values)


class Joined(Sentence):
    """Several texts as one, each translated for itself."""

    __slots__ = ("parts",)

    parts: tuple[str, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the parts along."""
        return (joined, (self.form, self.parts))


def joined(separator: str, parts: Iterable[str]) -> Joined:
    """Return several texts as one, like `str.join`; separator and parts are translated each for itself."""
    every = tuple(parts)
    one = Joined(separator.join(every), separator, {})
    one.parts = every
    return one
