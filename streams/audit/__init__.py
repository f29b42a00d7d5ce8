"""Every transaction's end, from the topics themselves: read a span of the log, join by transaction_id, add up."""

from streams.audit.balance import Accounts, Balance
from streams.runtime.kafka.log_reader import LedgerUnreachable, Span, end_of, read_span, whole_log

__all__ = ["Accounts", "Balance", "LedgerUnreachable", "Span", "end_of", "read_span", "whole_log"]
