"""Load on the HTTP edge: an open-loop generator, steps of offered load, overload, and a FastAPI service for comparison."""
