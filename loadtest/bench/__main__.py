"""``python -m loadtest.bench``: the whole table (``loadtest.bench.whole_table``)."""

from loadtest.bench.whole_table import main

main()
