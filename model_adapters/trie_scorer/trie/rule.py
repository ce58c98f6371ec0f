"""The one rule of the token trie: which token may attend to which."""

from typing import Any


def visible(query: Any, key: Any, key_end: Any) -> Any:
    """Whether a token may attend to another, all given by their indices in depth-first order.

    With `end[j]` one past the last descendant of node j, node i descends from node j (or is j) exactly when
    `j <= i < end[j]`; those ancestors are the tokens before i in its own request, so this one rule is causal attention,
    sharing of prefixes at any depth, and packing without padding.

    Args:
        query: Indices i of the attending nodes, any shape that broadcasts with `key`: numpy, torch or int.
        key: Indices j of the nodes attended to.
        key_end: `end[j]` of those nodes, the shape of `key`.

    Returns:
        Booleans in the broadcast shape, of the arguments' own array library.
    """
    return (key <= query) & (query < key_end)
