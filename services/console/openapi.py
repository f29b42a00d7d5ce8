"""Prints the API's OpenAPI document: ``python -m services.console.openapi``. Needs no stack."""

from __future__ import annotations

import json

from services.console.app import described

if __name__ == "__main__":
    print(json.dumps(described().openapi(), indent=1))
