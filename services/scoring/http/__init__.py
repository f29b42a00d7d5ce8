"""The HTTP edge's addresses: a new endpoint goes into ``app.py`` (or ``scoring_routes.py`` if it scores) and ``openapi.py``."""
