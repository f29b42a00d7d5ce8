"""Cost of rules, in our engine and in other libraries."""
