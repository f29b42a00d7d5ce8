"""``python -m loadtest.bench``: the whole table (``loadtest.bench.bench``)."""

from loadtest.bench.bench import main

main()
