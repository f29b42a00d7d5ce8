"""Names of models and versions. Imports nothing of ours: the drift stream, whose environment lacks what bundles need, reads them too."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

#: the name of a model or a version: it becomes part of a path
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z")]
