"""Peers: alternatives to this system, and a lower bound, that the benchmarks run for comparison.

- The same four windows per card in other tools, in each tool's own idiom (Faust, Quix Streams, Bytewax, ``Windows.java``). Each reads
  `transactions` (JSON, keyed by card), keeps each card's payments of 30 days in the tool's state, writes count and sum of 1 h, 24 h,
  7 d and 30 d for each payment to a topic, and prints its cost. They run in their own environments, so they use only ``windows``
  and ``meter`` of this project.
- The whole way from transaction to decision: ``bare_pipe`` (no state, no model), ``Scoring.java`` (Kafka Streams with ONNX Runtime),
  ``feast_service`` (FastAPI, Feast's SDK, XGBoost over HTTP).
- ``installing`` installs them; ``running`` starts one on its own broker and sends it the same traffic as ours.
"""
