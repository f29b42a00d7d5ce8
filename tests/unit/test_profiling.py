"""What a profile says of stacks as they were sampled."""

from __future__ import annotations

from loadtest.profiling import own_time


def test_own_time_is_that_of_the_last_function_whatever_its_line() -> None:
    lines = [
        "main (a/b/main.py:1);handle (a/streams/processor/cards.py:10);slots (a/features/online/hot.py:121) 6",
        "main (a/b/main.py:1);handle (a/streams/processor/cards.py:12);slots (a/features/online/hot.py:130) 2",
        "main (a/b/main.py:1);handle (a/streams/processor/cards.py:14) 2",
        "",
        "no count",
    ]
    assert own_time(lines) == "slots (online/hot.py) 80%, handle (processor/cards.py) 20%"
    assert own_time(lines, top=1) == "slots (online/hot.py) 80%"
    assert own_time([]) == ""
