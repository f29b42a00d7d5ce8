"""How many users there are at a time. Pure; ``Shape`` tells Locust."""

from __future__ import annotations

from collections.abc import Callable

from locust import LoadTestShape

#: share of all users, by share of the run that is over (0 to 1)
SHAPES: dict[str, Callable[[float], float]] = {
    "steady": lambda _: 1.0,
    # ten steps, the last one full
    "ramp": lambda t: (int(t * 10) + 1) / 10,
    # a fifth of the users, all of them for the middle fifth
    "spike": lambda t: 1.0 if 0.4 <= t < 0.6 else 0.2,
    # half of the users pay; in the middle third as many come who try stolen cards
    "attack": lambda t: 1.0 if 1 / 3 <= t < 2 / 3 else 0.5,
    # below what the machine can take, for long
    "soak": lambda _: 0.6,
}
SECONDS = {"soak": 600.0}
DEFAULT_SECONDS = 60.0
#: users started a second; above it Locust warns
SPAWN_RATE = 100.0


def users_at(shape: str, users: int, seconds: float, now_s: float) -> int | None:
    """Users ``now_s`` seconds after the start of a run of ``seconds``, at least one; None when it is over."""
    if now_s >= seconds:
        return None
    return max(1, round(users * SHAPES[shape](now_s / seconds)))


class Shape(LoadTestShape):
    """One of ``SHAPES``. In an attack the additional users are ``attackers``."""

    def __init__(self, shape: str, users: int, seconds: float, honest: type, attackers: type) -> None:
        super().__init__()
        self._shape, self._users, self._seconds = shape, users, seconds
        self._honest, self._attackers = honest, attackers

    def tick(self) -> tuple[int, float, list[type]] | None:
        count = users_at(self._shape, self._users, self._seconds, self.get_run_time())
        if count is None:
            return None
        attacked = self._shape == "attack" and count > round(self._users * 0.5)
        return count, SPAWN_RATE, [self._honest, self._attackers] if attacked else [self._honest]
