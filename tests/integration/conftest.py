"""The rollout process over a mock broker, for the tests of several files."""

from __future__ import annotations

from tests.support.rollout_stack import rollout_process, rollout_stack

__all__ = ["rollout_process", "rollout_stack"]
