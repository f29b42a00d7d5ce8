"""The parts that analysts write: rules, lists, thresholds by tenant and channel, expected loss. See ``models/RULES.md``."""
