"""What a user would pick instead: the same four windows per card in other tools, each by the tool's own idiom.

Every program reads `transactions` as they are (JSON, by card), keeps each card's payments of 30 days in the tool's state,
writes count and sum of 1 h, 24 h, 7 d and 30 d for each payment to a topic, and prints what that cost. They run in
environments of their own, so they use nothing of this project but ``windows`` and ``meter``, and no other package.
"""
