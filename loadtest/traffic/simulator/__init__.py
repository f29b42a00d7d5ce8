"""The traffic simulator: a world of cards and merchants, honest payments and fraud. The same seed gives the same traffic."""

from loadtest.traffic.simulator.generate import Labels, Plan, history_table
from loadtest.traffic.simulator.switches import Attack, Drift
from loadtest.traffic.simulator.world import DEFAULT_CARDS, World, create_world

__all__ = ["DEFAULT_CARDS", "Attack", "Drift", "Labels", "Plan", "World", "create_world", "history_table"]
