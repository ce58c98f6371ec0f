"""The chat formats of Baichuan-13B-Chat and of the Baichuan 2 chat models, as Jinja chat templates.

Facts (generation_utils.py of the official checkpoints): a user turn is the user token, then the text; an assistant turn
is the assistant token, then the text. 13B-Chat closes an assistant turn with eos, always ends with the assistant token,
and has no system role. Baichuan 2 adds no eos, ends with the assistant token only if the last turn is not the
assistant's, and puts the system text first, with no role token. User and assistant tokens are ids 195 and 196.
"""

from __future__ import annotations

from typing import Any

USER_TOKEN_ID = 195
ASSISTANT_TOKEN_ID = 196

# The name of piece 195 tells the two vocabularies apart.
_USER_PIECE = {"<reserved_102>": "13b-chat", "<reserved_106>": "baichuan2"}

_TEMPLATE_13B_CHAT = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{{ 'USER' + message['content'] }}"
    "{%- elif message['role'] == 'assistant' -%}{{ 'ASSISTANT' + message['content'] + eos_token }}"
    "{%- else -%}{{ raise_exception('Baichuan-13B-Chat has no ' + message['role'] + ' role: leave the message out, "
    "or put its text into the first user turn.') }}"
    "{%- endif -%}{%- endfor -%}{{ 'ASSISTANT' }}"
)
_TEMPLATE_BAICHUAN2 = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' and loop.first -%}{{ message['content'] }}"
    "{%- elif message['role'] == 'user' -%}{{ 'USER' + message['content'] }}"
    "{%- elif message['role'] == 'assistant' -%}{{ 'ASSISTANT' + message['content'] }}"
    "{%- else -%}{{ raise_exception('Baichuan 2 takes user and assistant turns, and a system text only as the first "
    "message; found a ' + message['role'] + ' message later.') }}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if messages[-1]['role'] != 'assistant' -%}{{ 'ASSISTANT' }}{%- endif -%}"
)


def chat_rule(user_piece: str) -> str | None:
    """Returns ``"13b-chat"`` or ``"baichuan2"`` by the name of piece 195, or None for a vocabulary without chat."""
    return _USER_PIECE.get(user_piece)


def rule_of(tokenizer: Any) -> str | None:
    """Returns the published rule that a tokenizer's chat template is (see `chat_rule`), or None for another one."""
    if len(tokenizer) <= ASSISTANT_TOKEN_ID:
        return None
    user, assistant = tokenizer.convert_ids_to_tokens([USER_TOKEN_ID, ASSISTANT_TOKEN_ID])
    rule = chat_rule(user)
    return rule if rule is not None and tokenizer.chat_template == chat_template(rule, user, assistant) else None


def chat_template(rule: str, user_piece: str, assistant_piece: str) -> str:
    """Returns the Jinja chat template of a rule (see `chat_rule`) for a vocabulary's two role pieces."""
    template = {"13b-chat": _TEMPLATE_13B_CHAT, "baichuan2": _TEMPLATE_BAICHUAN2}[rule]
    return template.replace("ASSISTANT", assistant_piece).replace("USER", user_piece)
