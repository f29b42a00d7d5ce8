"""What the HTTP edge can take: an open-loop generator, steps of offered load, overload, and what a user would build instead."""
