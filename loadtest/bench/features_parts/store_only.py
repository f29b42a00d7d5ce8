"""Only our own reads and writes of profiles in Redis, for the comparison with Feast's SDK."""

from __future__ import annotations

from time import process_time

import numpy as np

from features.store.commands import pack_mset
from features.store.profiles.batch import Gather
from features.store.redis_client import RespClient
from features.store.views import CARD_STATE
from loadtest.bench.features_parts.batches import BATCH
from loadtest.bench.features_parts.kafka_and_redis import Parts
from loadtest.bench.features_parts.traffic import Traffic
from loadtest.bench.harness.table import Row
from streams.contracts.transaction_parsing import parse_transaction
from streams.mapping.encoding import encode_transactions

RUNS = 5
BATCHES = 20
WITHOUT = ["customer_id", "device_id", "ip"]


def store_row(parts: Parts, traffic: Traffic) -> Row:
    """CPU of this process per transaction: batches of 256 cards and merchants read and decoded, cards encoded and written."""
    table = traffic.measured.slice(0, BATCH * BATCHES).drop_columns(WITHOUT)
    transactions = [parse_transaction(value) for value in encode_transactions(table)]
    batches = [transactions[start : start + BATCH] for start in range(0, len(transactions), BATCH)]
    client, partitions = RespClient(parts.settings.redis_address), parts.settings.partitions
    runs = []
    for _ in range(RUNS):
        began = process_time()
        for batch in batches:
            gather = Gather(batch)
            gather.load(client.call(gather.commands(partitions)))
            names, slots = list(gather.card_ids), np.arange(len(gather.card_ids))
            client.call([pack_mset(CARD_STATE, names, gather.cards, slots, partitions, 0)])
        runs.append((process_time() - began) * 1e6 / len(transactions))
    client.close()
    return Row("ours: card and merchant read, card written, 256 at once", runs, "us a row")
