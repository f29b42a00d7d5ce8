"""Columns of a file become columns of transactions: text, times, numbers and labels, a batch at a time. Pure."""
