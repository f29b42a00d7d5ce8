"""Locust users and shapes for HTTP and Kafka; ``python -m loadtest.locust --help``.

A Locust process makes some 500 calls a second of a typed client on one core: it is for shapes, mixtures and verdicts.
Where that is the limit, ``tollgate simulate`` sends 30,000/s into Kafka and ``loadtest.bench.http`` offers HTTP load.
"""
