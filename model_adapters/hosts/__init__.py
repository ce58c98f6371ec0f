"""What of the host libraries may change under us: their private names and renamed keywords, one file a host.

Each file gives the names under one of our own, or lists those that only a subclass can override. tests/hosts looks
every one of them up in the installed release, and says which one moved and who leans on it.
"""

from typing import NamedTuple


class Lean(NamedTuple):
    """A name of a host that we lean on.

    Attributes:
        where: ``module:Class.attribute``.
        who: Which module of ours leans on it, and for what.
        parameters: Of a function: those that we pass or take, in the host's order.
    """

    where: str
    who: str
    parameters: tuple[str, ...] = ()
