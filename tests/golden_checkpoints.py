"""The tiny checkpoints that the official model code was run on."""

GOLDEN = (
    "baichuan1-7b-tiny",
    "baichuan1-13b-tiny",
    "baichuan1-13b-tiny-5heads",
    "baichuan2-7b-tiny",
    "baichuan2-13b-tiny",
)
