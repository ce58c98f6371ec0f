"""How far a scoring run is, in the numbers a progress bar shows."""

import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Counts of one scoring run; updated after each row.

    Attributes:
        requests_total: Requests to score.
        requests_done: Requests scored so far.
        tokens_total: Distinct tokens, each run once.
        tokens_done: Distinct tokens run so far.
        tokens_sent: Tokens that would be run with nothing shared.
        token_budget: Tokens in one row at present; smaller after an out-of-memory.
        started: When the first row began, `time.perf_counter()` seconds.
    """

    requests_total: int
    tokens_total: int
    tokens_sent: int
    token_budget: int
    requests_done: int = 0
    tokens_done: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def saved_share(self) -> float:
        """Share of the tokens sent that need no run of their own, from 0 to 1."""
        return 1 - self.tokens_total / self.tokens_sent if self.tokens_sent else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Distinct tokens per second so far; 0.0 before the first row is done."""
        seconds = time.perf_counter() - self.started
        return self.tokens_done / seconds if self.tokens_done and seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time left at the present speed, in seconds; None before the first row is done."""
        speed = self.tokens_per_second
        return (self.tokens_total - self.tokens_done) / speed if speed else None
