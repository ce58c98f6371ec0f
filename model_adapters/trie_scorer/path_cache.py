"""The keys and values of the path from the root to the cut: all that one row hands to the next."""

import torch


class PathCache:
    """Keys and values of the cut's ancestors for each attention call; at most `max_length` tokens of whatever requests.

    A row stages what the next row needs while it runs and commits it when it is done, so that a row that ran out of
    memory halfway can be run again, shorter.
    """

    def __init__(self) -> None:
        """Starts at the root, with nothing kept."""
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._staged: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def extend(
        self, call: int, key: torch.Tensor, value: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts the kept path before a row's keys and values, and stages what to keep of the two.

        Args:
            call: Number of the attention call within the row.
            key: The row's keys, `[1, kv_heads, nodes, head_dim]`.
            value: The row's values, `[1, kv_heads, nodes, value_dim]`.
            keep: Where the next path stands among `[path | nodes]`, `[kept]`, on the same device.

        Returns:
            Keys and values of `[path | nodes]`, the second last axis `path + nodes`.
        """
        if call in self._kept:
            path_key, path_value = self._kept[call]
            key = torch.cat([path_key, key], dim=2)
            value = torch.cat([path_value, value], dim=2)
        if len(keep):
            self._staged[call] = (key.index_select(2, keep), value.index_select(2, keep))
        return key, value

    def commit(self) -> None:
        """What was staged becomes the path of the next row."""
        self._kept, self._staged = self._staged, {}

    def discard(self) -> None:
        """Forgets what was staged; the path is again what it was before the row."""
        self._staged = {}
