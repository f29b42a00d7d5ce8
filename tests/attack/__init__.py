"""Attacks on a running stack: each is a function of the stack's settings that does harm as an outsider could, and says what came of it.

A new attack is a function with ``@attack("name")`` in a module of this package: the runner finds it (``make attack``), and a test runs it.
"""
