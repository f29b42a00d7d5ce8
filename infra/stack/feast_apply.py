"""Registers entities, feature views and the feature service with Feast, then exits. Gives up after five tries."""

from __future__ import annotations

import logging
import sys
import time

from features.feast_repo.apply import apply_repo
from streams.runtime.process import start_process

PAUSES_S = (1, 2, 5, 10)


def main() -> int:
    settings = start_process("feast-apply", metrics=False, signals=False).settings
    log = logging.getLogger(__name__)
    for pause_s in (*PAUSES_S, None):
        try:
            apply_repo(
                settings.feast_dir, settings.redis_address, settings.partitions, settings.archive_dir,
                attributes=settings.declared,
            )  # fmt: skip
        except Exception:
            log.exception("feast apply failed")
            if pause_s is None:
                return 1
            time.sleep(pause_s)
        else:
            log.info("feature views registered in %s", settings.feast_dir)
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
