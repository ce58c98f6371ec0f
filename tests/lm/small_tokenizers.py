"""Small vocabularies of the kinds that models of the field have, trained here in a blink."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。",
    "Question: What is it? Answer: A. one B. two C. three D. four",
    "The following are multiple choice questions (with answers) about anatomy.",
    "答案：A 答案：B 答案：C 答案：D",
    *"ABCD",
] * 9
SPECIAL = ["<unk>", "<s>", "</s>"]


def byte_level(pieces: int = 400) -> PreTrainedTokenizerFast:
    """Byte-level BPE without unknown piece, as GPT-2 and Qwen have it: "A" and "ĠA" are two pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=pieces, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")


def llama_like(pieces: int = 400) -> PreTrainedTokenizerFast:
    """BPE with a space before every text and bos before every sequence, as Llama 2 and Mistral have it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=pieces, special_tokens=SPECIAL, initial_alphabet=[*"ABCD▁"])
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def unigram(pieces: int = 300) -> PreTrainedTokenizerFast:
    """Unigram with a space before every text and eos after every sequence, as T5 has it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=pieces, special_tokens=SPECIAL, unk_token="<unk>")
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
