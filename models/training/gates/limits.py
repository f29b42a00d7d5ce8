"""The limits of all gates in one place."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Shares are of 1. A loss is held against a model only where its interval proves it, and where it is larger than these."""

    #: frauds on unseen rows without which two models cannot be told apart
    min_frauds: int = 10
    #: largest proven loss of average precision, relative to the live model's
    average_precision_loss: float = 0.02
    #: largest proven loss of the share of fraud money that is stopped, by currency; a larger one may be traded for fewer stopped
    #: payments, which a person judges, up to the second number
    money_loss: float = 0.02
    money_trade: float = 0.2
    #: largest proven ratio of false alarms to those of the live model; a larger one may be traded for more stopped frauds, which a
    #: person judges, up to the second number
    false_alarms: float = 1.5
    false_alarm_trade: float = 4.0
    #: frauds observed per fraud predicted, and its inverse
    calibration: float = 2.0
    #: area under the ROC curve that a model may have less than the live one had on its own unseen rows
    record_loss: float = 0.1
    #: time for a batch, relative to the live model's, and ms that are always allowed
    latency: float = 2.0
    latency_ms: float = 2.0
    #: bytes of the model, relative to the live one's, and bytes that are always allowed
    size: float = 4.0
    size_bytes: int = 4 * 2**20
    #: share of decisions that a change of every value by ``nudge`` may turn over, or twice the live model's
    unstable: float = 0.02
    nudge: float = 0.01
    #: the four-fifths rule: a group's rate relative to the others' is at least this, or at most its inverse
    four_fifths: float = 0.8
    #: groups with less are not shown
    min_group_honest: int = 100
    min_group_frauds: int = 20
    min_group_cards: int = 10
    #: area under the ROC curve of one feature alone that no honest feature reaches
    leak: float = 0.995
    #: share of rows that are there twice
    repeated: float = 0.01


LIMITS = Limits()
