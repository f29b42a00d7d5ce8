"""Where a record belongs. Readers of the store ask the same question, so the answer stands below: ``features.store.partitions``."""

from __future__ import annotations

from features.store.partitions import entity_partition, partitions_of

__all__ = ["entity_partition", "partitions_of"]
