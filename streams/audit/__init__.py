"""The balance of a stack: what became of every transaction, found by reading the topics and joining by identity."""

from streams.audit.balance import Accounts, Balance
from streams.runtime.kafka.log_reader import LedgerUnreachable, Span, end_of, read_span, whole_log

__all__ = ["Accounts", "Balance", "LedgerUnreachable", "Span", "end_of", "read_span", "whole_log"]
