"""What an analyst writes: rules, lists, thresholds by tenant and channel, expected loss. See ``models/RULES.md``."""
