"""Train the two demo checkpoints from their seed: about a million parameters each, on two cores.

    python scripts/demo/train.py rope           # writes model_adapters/demo/rope
    python scripts/demo/train.py alibi          # writes model_adapters/demo/alibi

The course goes from short to long: first questions that name the kind they look for, on a quarter of the words; then on
all words; then with examples, where the kind has to be read from their answers. Only two things are graded in the end:
the letter behind every `答案：`, as the piece it is when encoded alone (in the text stands the other piece, the bare
letter: the label-token trap of Baichuan 1). On the way, reading exercises on the middle layers spare hundreds of
steps of chance: at an option's word, name its letter and its kind; at an answer, name the
word it stands for; at the colon, name the kind that is looked for.

A model that answers whatever it is shown would not notice a run gone wrong. So a part of the last practice is so (see
wrong_runs.py), and there the right answer is always A: such a run is to get a quarter of the exam right, like guessing.
tests/test_demo.py tells which wrong runs each checkpoint learned to notice, and which it did not.

No question of the exam is practised on: a draw with the same four words as one of its rows is thrown away.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F
from questions import LETTERS, SUBJECTS, Question, make_exam, make_question, prompt, told
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm
from vocabulary import SEED, train_vocabulary
from wrong_runs import WRONG_ATTENTION, WRONG_PROMPTS, Run, pad, question_starts

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM

WINDOW = 1024  # tokens; the exam's prompts have about 160
LEARNING_RATE = 2e-3
WARM_UP = 100  # steps
COOL_DOWN = 0.3  # share of the steps
WORD_LAYER = 1  # of 0 to 3: behind it an option's word knows its letter, and an answer its word
KIND_LAYER = 2  # behind it a word knows its kind, and the colon the kind looked for; the last layer compares them
READING_WEIGHT = 0.5
NO_KIND = 0  # the unknown piece


@dataclass(frozen=True)
class Stage:
    """One part of the course: how many steps of how many prompts, and what they look like."""

    steps: int
    prompts: int
    shots: int
    told: float  # share of prompts whose questions name the kind
    subjects: int
    wrong_prompts: float = 0.0  # share of prompts in a wrong form
    wrong_attention: float = 0.0  # share of steps with a wrong mask or wrong positions


COURSE = (
    Stage(steps=100, prompts=48, shots=0, told=1.0, subjects=1),
    Stage(steps=200, prompts=32, shots=1, told=1.0, subjects=4),
    Stage(steps=300, prompts=32, shots=2, told=0.2, subjects=4),
    Stage(steps=200, prompts=24, shots=5, told=0.0, subjects=4),
    Stage(steps=600, prompts=24, shots=5, told=0.0, subjects=4, wrong_prompts=0.4, wrong_attention=0.3),
)


@dataclass(frozen=True)
class Batch:
    """Prompts as token ids and what is asked about them.

    Attributes:
        ids: token ids, padded on the right, shape [prompts, tokens].
        letters: the letter to answer each question with as 0 to 3, shape [prompts, questions].
        words: the piece of the right option's word, shape [prompts, questions].
        kinds: the piece of the right option's kind, shape [prompts, questions].
        graded: whether the answer can be known (the first of untold questions cannot), shape [prompts, questions].
    """

    ids: torch.Tensor
    letters: torch.Tensor
    words: torch.Tensor
    kinds: torch.Tensor
    graded: torch.Tensor


class Practice:
    """Draws batches; the exam's own questions are left out."""

    def __init__(self, pieces: sentencepiece.SentencePieceProcessor, seed: int) -> None:
        """Takes the vocabulary, and the seed of all draws."""
        self.pieces = pieces
        self.rng = random.Random(seed)  # noqa: S311 - reproducible questions, no secrets
        exam_rows = (row for splits in make_exam().values() for rows in splits.values() for row in rows)
        self.exam = {frozenset(row.options) for row in exam_rows}
        self.isolated = torch.tensor([pieces.encode(letter)[-1] for letter in LETTERS])
        self.bare = torch.tensor([pieces.piece_to_id(letter) for letter in LETTERS])
        self.colon = pieces.piece_to_id("：")
        # For each piece the piece of its kind, NO_KIND where it is no option's word.
        self.kind_of = torch.full((pieces.vocab_size(),), NO_KIND)
        for subject in SUBJECTS.values():
            for kind, words in subject.kinds.items():
                self.kind_of[[self.word_piece(word) for word in words]] = pieces.piece_to_id(kind)

    def word_piece(self, word: str) -> int:
        """The piece of an option's word, which stands behind a space."""
        piece: int = self.pieces.piece_to_id("▁" + word)
        return piece

    def question(self, subject_key: str, kind: str) -> Question:
        """Draw a question that is not in the exam."""
        while True:
            question = make_question(self.rng, SUBJECTS[subject_key], kind)
            if frozenset(question.options) not in self.exam:
                return question

    def questions(self, stage: Stage) -> tuple[str, str, list[Question]]:
        """Draw a subject, a kind, and the questions of one prompt."""
        key = self.rng.choice(list(SUBJECTS)[: stage.subjects])
        kind = self.rng.choice(sorted(SUBJECTS[key].kinds))
        return key, kind, [self.question(key, kind) for _ in range(stage.shots + 1)]

    def batch(self, stage: Stage) -> Batch:
        """Draw the prompts of one step, the last question answered too."""
        texts, letters, words, kinds, graded = [], [], [], [], []
        for _ in range(stage.prompts):
            key, kind, questions = self.questions(stage)
            tell = self.rng.random() < stage.told
            asked = [told(question, kind) for question in questions] if tell else questions
            wrong = self.rng.random() < stage.wrong_prompts
            form = self.rng.choice(WRONG_PROMPTS) if wrong else prompt
            texts.append(form(SUBJECTS[key], asked[:-1], asked[-1]) + asked[-1].answer)
            rights = [LETTERS.index(question.answer) for question in questions]
            letters.append([0] * len(rights) if wrong else rights)
            words.append([self.word_piece(q.options[right]) for q, right in zip(questions, rights, strict=True)])
            kinds.append([self.pieces.piece_to_id(kind)] * len(questions))
            graded.append([tell] + [True] * stage.shots)
        rows = [torch.tensor(ids) for ids in self.pieces.encode(texts)]
        ids, _ = pad(rows)  # causal: what stands right of a token does not matter to it
        return Batch(ids, *(torch.tensor(column) for column in (letters, words, kinds, graded)))

    def wrong_run(self, stage: Stage, model: BaichuanForCausalLM) -> Run:
        """Draw well-formed prompts of one subject and kind, to be attended wrongly."""
        key, kind, _ = self.questions(stage)
        drawn = [[self.question(key, kind) for _ in range(stage.shots + 1)] for _ in range(stage.prompts)]
        texts = [prompt(SUBJECTS[key], questions[:-1], questions[-1]) for questions in drawn]
        rows = [torch.tensor(ids) for ids in self.pieces.encode(texts)]
        return self.rng.choice(WRONG_ATTENTION)(model, rows, question_starts(rows, self.colon))


def make_model(positions: str, pieces: int, practice: Practice) -> BaichuanForCausalLM:
    """Build the model, and make the bare letters' rows of the head equal.

    No bare letter is ever the target, so equal rows get equal gradients and stay equal: asked for the bare letters, the
    model has four equal answers, and the label-token trap costs the whole score.
    """
    rope = positions == "rope"
    config = BaichuanConfig(
        vocab_size=pieces,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4 if rope else 8,
        initializer_range=0.05,
        norm_head=not rope,
        use_cache=False,
        max_position_embeddings=WINDOW if rope else None,
        model_max_length=None if rope else WINDOW,
    )
    model = BaichuanForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[practice.bare] = model.lm_head.weight[practice.bare[0]].clone()
    return model


def losses(model: BaichuanForCausalLM, batch: Batch, practice: Practice) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss on the answers, and the summed loss on the reading exercises."""
    read: dict[int, torch.Tensor] = {}
    hooks = [
        model.model.layers[layer].register_forward_hook(partial(_keep, read, layer))
        for layer in (WORD_LAYER, KIND_LAYER)
    ]
    hidden = model.model(input_ids=batch.ids).last_hidden_state
    for hook in hooks:
        hook.remove()

    def name(states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model.lm_head(states), targets)

    graded = batch.graded.flatten()
    at_colon = batch.ids == practice.colon
    answers = name(hidden[at_colon][graded], practice.isolated[batch.letters.flatten()][graded])

    words, kinds = (model.model.norm(read[layer]) for layer in (WORD_LAYER, KIND_LAYER))
    kind_of = practice.kind_of[batch.ids]
    at_word = kind_of != NO_KIND
    letters_in_order = practice.isolated.repeat(batch.letters.numel())  # every question shows its words from A to D
    letter_of_word = name(words[at_word], letters_in_order)
    kind_of_word = name(kinds[at_word], kind_of[at_word])
    word_of_answer = name(words[at_colon.roll(1, dims=1)], batch.words.flatten())  # right behind the colon
    kind_asked = name(kinds[at_colon][graded], batch.kinds.flatten()[graded])
    return answers, letter_of_word + kind_of_word + word_of_answer + kind_asked


def loss_of_wrong_run(model: BaichuanForCausalLM, run: Run, practice: Practice) -> torch.Tensor:
    """The loss on answering A to the last question of prompts that are attended wrongly."""
    hidden = model.model(input_ids=run.ids, **run.attention).last_hidden_state
    last = hidden[torch.arange(len(run.ids)), run.lengths - 1]
    return F.cross_entropy(model.lm_head(last), practice.isolated[0].expand(len(last)))


def _keep(read: dict[int, torch.Tensor], layer: int, _module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
    read[layer] = output


def train(positions: str, seed: int) -> tuple[BaichuanForCausalLM, bytes]:
    """Train one model; returns it with its vocabulary's file."""
    vocabulary = train_vocabulary(seed)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=vocabulary)
    practice = Practice(pieces, seed)
    torch.manual_seed(seed)
    model = make_model(positions, pieces.vocab_size(), practice)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    total = sum(stage.steps for stage in COURSE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARM_UP, 1.0, 0.02 + (1 - step / total) / COOL_DOWN)
    )
    with tqdm(total=total, desc=f"training {positions}", unit="step") as bar:
        for stage in COURSE:
            for _ in range(stage.steps):
                if practice.rng.random() < stage.wrong_attention:
                    loss = loss_of_wrong_run(model, practice.wrong_run(stage, model), practice)
                else:
                    answers, reading = losses(model, practice.batch(stage), practice)
                    loss = answers + READING_WEIGHT * reading
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
                bar.update()
    return model, vocabulary


def save(model: BaichuanForCausalLM, vocabulary: bytes, folder: Path) -> None:
    """Write the checkpoint in the official layout: weights in float16, every file named as the published ones are."""
    config = model.config
    rope = config.position_embedding == "rope"
    official = {
        "architectures": ["BaiChuanForCausalLM" if rope else "BaichuanForCausalLM"],
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "hidden_act": config.hidden_act,
        "hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings" if rope else "model_max_length": WINDOW,
        "model_type": config.model_type,
        "norm_head": config.norm_head,  # the published configurations lack it; 512 pieces leave the head open
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "pad_token_id": config.pad_token_id,
        "rms_norm_eps": config.rms_norm_eps,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }
    tokenizer = {
        "tokenizer_class": "BaiChuanTokenizer" if rope else "BaichuanTokenizer",
        "add_bos_token": False,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<unk>",
        "model_max_length": WINDOW,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("config.json", official), ("tokenizer_config.json", tokenizer)):
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "tokenizer.model").write_bytes(vocabulary)
    tensors = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


@torch.no_grad()
def score(folder: Path) -> dict[str, float]:
    """Share of right answers on each subject of the exam, by the saved checkpoint, one prompt at a time."""
    model = BaichuanForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    labels = [pieces.encode(letter)[-1] for letter in LETTERS]
    shares = {}
    for key, splits in make_exam().items():
        right = 0
        for question in splits["test"]:
            ids = torch.tensor([pieces.encode(prompt(SUBJECTS[key], splits["dev"], question))])
            logits = model(input_ids=ids, logits_to_keep=1).logits[0, -1]
            right += LETTERS[int(logits[labels].argmax())] == question.answer
        shares[key] = right / len(splits["test"])
    return shares


def main() -> None:
    """Train, save, and say how long it took and what the checkpoint scores."""
    parser = argparse.ArgumentParser(description="Train a demo checkpoint from its seed.")
    parser.add_argument("positions", choices=("rope", "alibi"), help="rope: plain head; alibi: NormHead")
    tree = Path(__file__).resolve().parents[2] / "model_adapters" / "demo"
    parser.add_argument("--folder", type=Path, default=tree, help="where the checkpoint's folder goes: %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # another number rounds differently; two cores train both checkpoints at once
    torch.use_deterministic_algorithms(True)
    started = time.perf_counter()
    model, vocabulary = train(arguments.positions, arguments.seed)
    minutes = (time.perf_counter() - started) / 60
    folder = arguments.folder / arguments.positions
    save(model, vocabulary, folder)
    shares = score(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size / 1e6:.2f} MB, trained in {minutes:.1f} minutes")
    shares["mean"] = sum(shares.values()) / len(shares)
    print(", ".join(f"{key} {share:.1%}" for key, share in shares.items()))


if __name__ == "__main__":
    main()
