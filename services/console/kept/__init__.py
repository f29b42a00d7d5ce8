"""What the console keeps of decisions in SQLite: those not approved, and counts a second."""
