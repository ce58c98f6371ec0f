"""Renders a task's messages in the chat form of the model, as ``--apply_chat_template`` asks.

lm-eval makes a task's description a system message as soon as a chat form is asked for, and drops the system message
without a word in the results where the model's form has none (Gemma, Baichuan-13B-Chat). Here that stops, and the user
decides: ``system_text=first_user`` puts the text before the first user turn, ``system_text=drop`` leaves it out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import TemplateError

from ..errors import OptionError, RequestError
from ..outside.limits import limits
from .prompt_shortening import ShotLayout, shot_layout

logger = logging.getLogger(__name__)

Message = dict[str, str]

SYSTEM_TEXT = ("own", "first_user", "drop")

LARGEST_FORM, LARGEST_GROWTH = 1_000_000, 10
"""How long a rendered conversation may be: so many characters, and so many times its messages."""

OWN_TEMPLATE = "the checkpoint's own chat template"


class ChatForm:
    """The chat form of one run: renders messages, and remembers them for prompts that turn out too long.

    Args:
        system_text: ``own`` leaves a system text to the model's form, which may refuse it; ``first_user`` puts it
            before the text of the first user turn; ``drop`` leaves it out where the form refuses it.
        rule_of: Names the rule that a tokenizer's chat template is, for the results.

    Raises:
        OptionError: `system_text` is none of these.
    """

    def __init__(self, system_text: str = "own", rule_of: Callable[[Any], str] = lambda _: OWN_TEMPLATE) -> None:
        """Starts with nothing rendered."""
        if system_text not in SYSTEM_TEXT:
            raise OptionError(f"system_text is {system_text!r}; expected one of {', '.join(SYSTEM_TEXT)}.")
        self._system_text = system_text
        self._rule_of = rule_of
        self._rendered: dict[str, _Conversation] = {}
        self._facts: dict[str, Any] | None = None

    def render(self, tokenizer: Any, history: list[Message], *, add_generation_prompt: bool, **arguments: Any) -> str:
        """The text of a conversation, its role tokens included.

        Args:
            tokenizer: The model's, with its chat template.
            history: Messages with ``role`` and ``content``.
            add_generation_prompt: Whether the assistant's turn is to begin; otherwise the last message is continued.
            arguments: Further arguments of the chat template.

        Raises:
            RequestError: The model has no chat form, or its form has no place for a message.
        """
        check_has_form(tokenizer)
        system = bool(history) and history[0]["role"] == "system"
        conversation = _Conversation(tokenizer, history, self._system_text, add_generation_prompt, arguments)
        try:
            text = conversation.text(history)
        except TemplateError as error:
            if system and self._system_text == "drop":
                return self._without_system_text(conversation, error)
            way_out = ""
            if system and self._system_text == "own":
                way_out = (
                    " (A task's description and --system_instruction are system text. With --model_args "
                    "system_text=first_user they stand before the text of the first user turn; system_text=drop leaves "
                    "them out, as --model hf does.)"
                )
            raise RequestError(f"--apply_chat_template: {error}{way_out}") from error
        self._rendered[text] = conversation
        # Nothing was dropped here: the form had a place for the system text.
        place = "own" if self._system_text == "drop" else self._system_text
        self._note(conversation, place if system else None)
        return text

    def _without_system_text(self, conversation: _Conversation, refusal: TemplateError) -> str:
        history = [message for message in conversation.history if message["role"] != "system"]
        conversation = replace(conversation, history=history)
        try:
            text = conversation.text(history)
        except TemplateError as error:
            raise RequestError(f"--apply_chat_template: {error}") from error
        if self._facts is None or self._facts["system_text"] != "dropped":
            logger.warning("The system text is left out: the chat form refuses it (%s).", refusal)
        self._rendered[text] = conversation
        self._note(conversation, "dropped")
        return text

    @property
    def system_text(self) -> str:
        """Where a system text goes."""
        return self._system_text

    def layout(self, context: str, doc: Mapping[str, Any]) -> ShotLayout | None:
        """Where the shots of a rendered context are, or None if it was not rendered here or has no shots to drop."""
        conversation = self._rendered.get(context)
        return None if conversation is None or "drop_shots" not in doc else conversation.layout(doc)

    def facts(self) -> dict[str, Any] | None:
        """What the results say of the chat form, or None where none was asked for."""
        return self._facts

    def _note(self, conversation: _Conversation, system_text: str | None) -> None:
        roles = [message["role"] for message in conversation.history]
        if self._facts is None:
            rule = self._rule_of(conversation.tokenizer)
            self._facts = {"rule": rule, "system_text": "none", "shots": "none or inline"}
        if system_text is not None and self._facts["system_text"] != "dropped":
            self._facts["system_text"] = system_text
        if roles.count("user") > 1:
            self._facts["shots"] = "turns"


@dataclass(frozen=True)
class _Conversation:
    """Messages and how they are rendered."""

    tokenizer: Any
    history: list[Message]
    system_text: str
    add_generation_prompt: bool
    arguments: Mapping[str, Any]

    def text(self, history: list[Message]) -> str:
        """The text of `history`, rendered as this conversation is."""
        if self.system_text == "first_user":
            history = _into_first_user_turn(history)
        try:
            with limits():
                text = self.tokenizer.apply_chat_template(
                    history,
                    tokenize=False,
                    add_generation_prompt=self.add_generation_prompt,
                    continue_final_message=not self.add_generation_prompt,
                    **self.arguments,
                )
        except TemplateError:
            raise  # the form's own refusal
        except Exception as error:  # a template may divide by zero
            raise RequestError(
                f"--apply_chat_template: the chat template of {self.tokenizer.name_or_path} failed "
                f"({error or type(error).__name__}). Correct it, or leave the option out."
            ) from error
        given = sum(len(message["content"]) for message in history)
        if len(text) > LARGEST_FORM + LARGEST_GROWTH * given:
            raise RequestError(
                f"--apply_chat_template: the chat template of {self.tokenizer.name_or_path} makes {len(text)} "
                f"characters of messages of {given}. Correct it, or leave the option out."
            )
        return str(text)

    def layout(self, doc: Mapping[str, Any]) -> ShotLayout | None:
        """Where the shots are: turns of their own, or parts of the only user turn."""
        start = int(self.history[0]["role"] == "system")
        question = max(i for i, message in enumerate(self.history) if message["role"] == "user")
        head, shots, tail = self.history[:start], self.history[start:question], self.history[question:]
        if shots:
            if [message["role"] for message in shots] != ["user", "assistant"] * (len(shots) // 2):
                return None
            pairs = [shots[i : i + 2] for i in range(0, len(shots), 2)]

            def with_turns(kept: list[int]) -> str:
                return self.text([*head, *(message for i in kept for message in pairs[i]), *tail])

            texts = tuple("".join(message["content"] for message in pair) for pair in pairs)
            return _ChatLayout("", texts, "", 0, doc["drop_shots"], with_turns)
        # The description is the system message, so the user turn begins with the first shot.
        inline = shot_layout(tail[0]["content"], {**doc, "description_length": 0})
        if inline is None:
            return None

        def with_inline(kept: list[int]) -> str:
            return self.text([*head, {"role": "user", "content": inline.text(kept)}, *tail[1:]])

        return _ChatLayout("", inline.shots, "", 0, inline.drop, with_inline)


@dataclass(frozen=True)
class _ChatLayout(ShotLayout):
    """Shots of a rendered conversation; without some of them it is rendered anew."""

    render: Callable[[list[int]], str]

    def text(self, kept: list[int]) -> str:
        """The conversation with only the `kept` shots, in their order."""
        return self.render(kept)


def check_has_form(tokenizer: Any) -> None:
    """Stops where a tokenizer has no chat form, as that of a base model.

    Raises:
        RequestError: It has none.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise RequestError(
            f"--apply_chat_template: {tokenizer.name_or_path} states no chat form, as base models don't. Leave the "
            "option out, or put the form that this model was trained on into the folder as chat_template.jinja."
        )


def _into_first_user_turn(history: list[Message]) -> list[Message]:
    """Puts a system text before the text of the user turn that follows it, on a line of its own."""
    if [message["role"] for message in history[:2]] != ["system", "user"]:
        return history
    system, user = history[0]["content"], history[1]["content"]
    between = "" if system[-1:].isspace() or user[:1].isspace() else "\n"
    return [{**history[1], "content": system + between + user}, *history[2:]]
