"""How values of topics are read and checked, and JSON schemas. What a decision holds: ``models/decision.py``."""
