"""What a user would pick instead, and the least that could be: programs that the benchmarks run beside ours.

- The same four windows per card in other tools, each by the tool's own idiom (Faust, Quix Streams, Bytewax, ``Windows.java``). Each
  reads `transactions` as they are (JSON, by card), keeps each card's payments of 30 days in the tool's state, writes count and
  sum of 1 h, 24 h, 7 d and 30 d for each payment to a topic, and prints what that cost. They run in environments of their
  own, so they use nothing of this project but ``windows`` and ``meter``.
- A whole way from transaction to decision: ``bare_pipe`` (no state, no model), ``Scoring.java`` (Kafka Streams with ONNX Runtime),
  ``feast_service`` (FastAPI, Feast's SDK, XGBoost over HTTP).
- ``installing`` fetches what they need, ``running`` starts one on a broker of its own and sends it the traffic that ours gets.
"""
