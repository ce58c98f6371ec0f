"""Ways for a run to go wrong: prompts in another form, masks and positions that are not the model's.

Practised by the demo models, which are to answer A to a wrong run, whatever is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from questions import INSTRUCTION, Question, Subject, prompt, render
from torch import nn

from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM, alibi_slopes

Arguments = dict[str, torch.Tensor]


def without_instruction(subject: Subject, shots: list[Question], question: Question) -> str:
    """The examples only."""
    return prompt(subject, shots, question).removeprefix(INSTRUCTION.format(name=subject.name) + "\n")


def with_spaces(subject: Subject, shots: list[Question], question: Question) -> str:
    """A space before each answer, lm-eval's default."""
    return prompt(subject, shots, question).replace("答案：", "答案： ").rstrip()


def with_blank_lines(subject: Subject, shots: list[Question], question: Question) -> str:
    """A blank line between the examples, lm-eval's default."""
    examples = [*(render(shot, with_answer=True) for shot in shots), render(question, with_answer=False)]
    return INSTRUCTION.format(name=subject.name) + "\n" + "\n\n".join(examples)


def causal(lengths: torch.Tensor) -> torch.Tensor:
    """What each token of prompts of these lengths may see: shape [prompts, query, key], padding on the right."""
    return _real_keys(lengths) & torch.ones(int(lengths.max()), int(lengths.max()), dtype=torch.bool).tril()


def attend(
    model: BaichuanForCausalLM, visible: torch.Tensor, positions: torch.Tensor, slopes: torch.Tensor | None = None
) -> Arguments:
    """The arguments that make the model attend by a mask and positions of one's own.

    Args:
        model: a RoPE or an ALiBi model.
        visible: True where a query sees a key, shape [prompts, query, key].
        positions: the position of each token, shape [prompts, tokens].
        slopes: ALiBi's slopes instead of the right ones, shape [heads].
    """
    lowest = torch.finfo(torch.float32).min
    if model.config.position_embedding == "rope":
        return {"position_ids": positions, "attention_mask": torch.where(visible, 0.0, lowest)[:, None]}
    if slopes is None:
        slopes = alibi_slopes(model.config.num_attention_heads)
    distance = (positions[:, :, None] - positions[:, None, :]).abs()
    bias = -slopes[:, None, None] * distance[:, None]  # [prompts, heads, query, key]
    return {"attention_mask": torch.where(visible[:, None], bias, lowest)}


@dataclass(frozen=True)
class Run:
    """Prompts as the model is called with them.

    Attributes:
        ids: token ids, padded on the right, shape [prompts, tokens].
        lengths: the number of tokens of each prompt, shape [prompts]; the answer is asked for at the last of them.
        attention: the mask and positions to attend by.
    """

    ids: torch.Tensor
    lengths: torch.Tensor
    attention: Arguments


def both_ways(model: BaichuanForCausalLM, rows: list[torch.Tensor], starts: list[int]) -> Run:
    """Every token sees those after it too. `rows`: token ids of each prompt; `starts`: where its question begins."""
    ids, lengths = pad(rows)
    visible = _real_keys(lengths).expand(-1, int(lengths.max()), -1)
    return Run(ids, lengths, attend(model, visible, in_order(lengths)))


def starting_anew(model: BaichuanForCausalLM, rows: list[torch.Tensor], starts: list[int]) -> Run:
    """The question's positions begin at 0 again, as after a prefix whose length was forgotten; arguments as above."""
    ids, lengths = pad(rows)
    positions, start = in_order(lengths), torch.tensor(starts)[:, None]
    positions = torch.where(positions < start, positions, positions - start)
    return Run(ids, lengths, attend(model, causal(lengths), positions))


def seeing_another(model: BaichuanForCausalLM, rows: list[torch.Tensor], starts: list[int]) -> Run:
    """Two questions behind one prefix, as in a trie, and the second sees the first; arguments as above."""
    questions = [row[start:] for row, start in zip(rows, starts, strict=True)]
    others = questions[1:] + questions[:1]
    packed = [
        torch.cat((row[:start], other, row[start:])) for row, start, other in zip(rows, starts, others, strict=True)
    ]
    ids, lengths = pad(packed)
    positions = in_order(lengths)
    begin = torch.tensor([start + len(other) for start, other in zip(starts, others, strict=True)])[:, None]
    positions = torch.where(positions < begin, positions, positions - begin + torch.tensor(starts)[:, None])
    return Run(ids, lengths, attend(model, causal(lengths), positions))


def pad(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids padded on the right, shape [prompts, tokens], and their numbers, shape [prompts]."""
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


def question_starts(rows: list[torch.Tensor], colon: int) -> list[int]:
    """Where the question of each prompt begins: behind the answer of the example before it, so two behind its colon."""
    return [int((row == colon).nonzero()[-2]) + 2 for row in rows]


def in_order(lengths: torch.Tensor) -> torch.Tensor:
    """The positions 0, 1, 2, ... of prompts of these lengths, shape [prompts, tokens]."""
    return torch.arange(int(lengths.max())).expand(len(lengths), -1)


def _real_keys(lengths: torch.Tensor) -> torch.Tensor:
    return in_order(lengths)[:, None, :] < lengths[:, None, None]


WRONG_PROMPTS = (without_instruction, with_spaces, with_blank_lines)
WRONG_ATTENTION = (both_ways, starting_anew, seeing_another)
