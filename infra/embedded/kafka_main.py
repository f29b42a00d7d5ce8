"""The embedded broker process: hosts a mock cluster with the stack's topics and writes its address to a file."""

from __future__ import annotations

import logging

from infra.embedded.mock_cluster import MockCluster
from infra.stack.lifecycle import KAFKA_ADDRESS_FILE
from streams.log.topics import ALL
from streams.runtime.process import start_process


def main() -> None:
    # who stands still is ended, and this one would come back empty
    process = start_process("kafka", metrics=False, beats=False)
    settings = process.settings
    cluster = MockCluster({topic.name: topic.partitions or settings.partitions for topic in ALL})
    path = settings.run_dir / KAFKA_ADDRESS_FILE
    tmp = path.with_suffix(".tmp")
    tmp.write_text(cluster.bootstrap)
    tmp.replace(path)
    logging.getLogger(__name__).info("mock cluster at %s: nothing is durable", cluster.bootstrap)
    process.stop.wait()
    cluster.close()


if __name__ == "__main__":
    main()
