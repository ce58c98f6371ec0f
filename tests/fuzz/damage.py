"""Damages a file's content in one way, chosen by a seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

POOL: tuple[Any, ...] = (None, True, False, 0, 1, -1, 1.5, "", "text", [], [1], {}, {"a": 1}, ["A", None])
RAW = {
    "huge": ("1" + "0" * 400, "9" * 5000, "1e308", "-1" + "0" * 18, str(2**63)),
    "not a number": ("NaN", "Infinity", "-Infinity"),
}
TEXTS = ("other", "$x^$", "../x", "=1+1", "\x1b[31m", "\ud83d")
MARK = "\N{REPLACEMENT CHARACTER}here"


@dataclass(frozen=True)
class Damage:
    """What a file holds now."""

    name: str
    content: bytes
    asks: bool
    """Whether the file may now ask for something else in good form, so that other numbers are right."""


def damage(content: bytes, draw: Random) -> Damage:
    """Damages a JSON file in its structure, or any file in its bytes."""
    try:
        data = json.loads(content)
    except ValueError:
        data = None
    if isinstance(data, dict) and data and draw.random() < 0.75:
        return structure(data, draw)
    lines = content.splitlines(keepends=True)
    try:
        if len(lines) > 1 and content[:1] == b"{" and draw.random() < 0.6:  # one object a line
            number = draw.randrange(len(lines))
            if (line := json.loads(lines[number])) and isinstance(line, dict):
                inner = structure(line, draw)
                lines[number] = inner.content + b"\n"
                return Damage(inner.name, b"".join(lines), inner.asks)
    except ValueError:
        pass
    return octets(content, draw)


def structure(data: dict[str, Any], draw: Random) -> Damage:
    """Damages one value of a JSON object, or what stands around it."""
    places = list(_places(data))
    parent, key = draw.choice(places)
    value = parent[key]
    others = [new for new in POOL if type(new) is not type(value)]
    ways: list[Callable[[], Damage]] = [
        lambda: _with(data, parent, key, draw.choice(others), "type", value),
        lambda: _without(data, parent, key),
        lambda: _raw(data, parent, key, draw),
        lambda: _with(data, parent, key, _nested(value, draw.choice((1, 3, 50))), "nesting", 0),
        lambda: _twice(data, parent, key, draw),
    ]
    if isinstance(value, str | int | float):
        ways.append(lambda: Damage("value", _dump(_set(data, parent, key, _other(value, draw))), asks=True))
    return draw.choice(ways)()


def octets(content: bytes, draw: Random) -> Damage:
    """Damages a file in its bytes."""
    ways = {
        "truncated": lambda: content[: int(len(content) * draw.random())],
        "bits flipped": lambda: _flipped(content, draw),
        "empty": lambda: b"",
        "zeros": lambda: bytes(len(content)),
        "garbage appended": lambda: content + bytes(draw.randrange(256) for _ in range(40)),
        "garbage before": lambda: bytes(draw.randrange(256) for _ in range(9)) + content,
        "written twice": lambda: content + content,
        "piece lost": lambda: _lost(content, draw),
        "nested deep": lambda: b"[" * 100_000,
        "encoding": lambda: content.decode("utf-8", "replace").encode(draw.choice(("utf-16", "utf-32", "utf-8-sig"))),
        "other encoding": lambda: content.decode("utf-8", "replace").encode("gb18030", "replace"),
    }
    name = draw.choice(list(ways))
    return Damage(name, ways[name](), asks=name in ("bits flipped", "piece lost"))


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key), the upper ones first."""
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from _places(data[key])


def _set(data: Any, parent: Any, key: Any, value: Any) -> Any:
    parent[key] = value
    return data


def _with(data: Any, parent: Any, key: Any, value: Any, name: str, before: Any) -> Damage:
    # What stood open may be stated, and one number is as good as another; else another type is damage.
    numbers = all(type(each) in (int, float) for each in (value, before))
    name = "deleted" if value is None else name
    return Damage(name, _dump(_set(data, parent, key, value)), asks=before is None or numbers)


def _without(data: Any, parent: Any, key: Any) -> Damage:
    del parent[key]
    return Damage("deleted", _dump(data), asks=False)


def _raw(data: Any, parent: Any, key: Any, draw: Random) -> Damage:
    name = draw.choice(list(RAW))
    asks = name == "huge" and type(parent[key]) in (int, float)  # a base of rotary frequencies may be 1e308
    return Damage(name, _dump_raw(_set(data, parent, key, MARK), draw.choice(RAW[name])), asks)


def _twice(data: Any, parent: Any, key: Any, draw: Random) -> Damage:
    if not isinstance(key, str):
        return _without(data, parent, key)
    first, second = parent[key], draw.choice(POOL)
    both = f"{json.dumps(first)}, {json.dumps(key)}: {json.dumps(second)}"
    return Damage("key twice", _dump_raw(_set(data, parent, key, MARK), both), asks=False)


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def _other(value: Any, draw: Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return draw.choice((*TEXTS, value + "x", value[:-1], value.upper()))
    return draw.choice((value + 1, value - 1, value * 2, value / 3, -value, 0, 1))


def _flipped(content: bytes, draw: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 4, 40))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _lost(content: bytes, draw: Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    return content[:start] + content[start + draw.choice((1, 8, 100)) :]


def _dump_raw(data: Any, text: str) -> bytes:
    """With `text` where the mark stands."""
    return _dump(data).replace(_dump(MARK), text.encode())


def _dump(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass")
