"""The parts that analysts write: rules, lists, thresholds by tenant and channel, expected loss. See ``models/RULES.md``.

A new function of the language: ``language.py``, then ``arithmetic.py`` or ``compiler.py``.
"""
