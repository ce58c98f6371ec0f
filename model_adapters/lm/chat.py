"""Renders a task's messages in the chat form of the model, as ``--apply_chat_template`` asks.

lm-eval makes a task's description a system message as soon as a chat form is asked for, and drops the system message
without a word to the user's results where the model's form has none (Baichuan-13B-Chat). Here that stops, and the user
decides: ``system_text=first_user`` puts the text before the first user turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from ..baichuan.chat_format import ASSISTANT_TOKEN_ID, USER_TOKEN_ID, chat_rule, chat_template
from ..errors import RequestError
from .prompt_shortening import ShotLayout, shot_layout

Message = dict[str, str]

SYSTEM_TEXT = ("own", "first_user")


class ChatForm:
    """The chat form of one run: renders messages, and remembers them for prompts that turn out too long.

    Args:
        system_text: ``own`` leaves a system text to the model's form, which may refuse it; ``first_user`` puts it
            before the text of the first user turn.

    Raises:
        RequestError: `system_text` is neither.
    """

    def __init__(self, system_text: str = "own") -> None:
        """Starts with nothing rendered."""
        if system_text not in SYSTEM_TEXT:
            raise RequestError(f"system_text is {system_text!r}; expected one of {', '.join(SYSTEM_TEXT)}.")
        self._system_text = system_text
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
        if not getattr(tokenizer, "chat_template", None):
            raise RequestError(
                f"--apply_chat_template: {tokenizer.name_or_path} states no chat form. Leave the option out, or put "
                "the form that this model was trained on into the folder as chat_template.jinja."
            )
        system = bool(history) and history[0]["role"] == "system"
        conversation = _Conversation(tokenizer, history, self._system_text, add_generation_prompt, arguments)
        try:
            text = conversation.text(history)
        except TemplateError as error:
            way_out = ""
            if system and self._system_text == "own":
                way_out = (
                    " (A task's description and --system_instruction are system text. With --model_args "
                    "system_text=first_user they stand before the text of the first user turn.)"
                )
            raise RequestError(f"--apply_chat_template: {error}{way_out}") from error
        self._rendered[text] = conversation
        self._note(conversation)
        return text

    def layout(self, context: str, doc: Mapping[str, Any]) -> ShotLayout | None:
        """Where the shots of a rendered context are, or None if it was not rendered here or has no shots to drop."""
        conversation = self._rendered.get(context)
        return None if conversation is None or "drop_shots" not in doc else conversation.layout(doc)

    def facts(self) -> dict[str, Any] | None:
        """What the results say of the chat form, or None where none was asked for."""
        return self._facts

    def _note(self, conversation: _Conversation) -> None:
        roles = [message["role"] for message in conversation.history]
        if self._facts is None:
            self._facts = {"rule": _rule_name(conversation.tokenizer), "system_text": "none", "shots": "none or inline"}
        if "system" in roles:
            self._facts["system_text"] = self._system_text
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
        return str(
            self.tokenizer.apply_chat_template(
                history,
                tokenize=False,
                add_generation_prompt=self.add_generation_prompt,
                continue_final_message=not self.add_generation_prompt,
                **self.arguments,
            )
        )

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


def _into_first_user_turn(history: list[Message]) -> list[Message]:
    """Puts a system text before the text of the user turn that follows it, on a line of its own."""
    if [message["role"] for message in history[:2]] != ["system", "user"]:
        return history
    system, user = history[0]["content"], history[1]["content"]
    between = "" if system[-1:].isspace() or user[:1].isspace() else "\n"
    return [{**history[1], "content": system + between + user}, *history[2:]]


def _rule_name(tokenizer: Any) -> str:
    """Which published rule the tokenizer's chat template is, or that it is the checkpoint's own."""
    user, assistant = tokenizer.convert_ids_to_tokens([USER_TOKEN_ID, ASSISTANT_TOKEN_ID])
    rule = chat_rule(user)
    published = rule is not None and tokenizer.chat_template == chat_template(rule, user, assistant)
    return str(rule) if published else "the checkpoint's own chat template"
