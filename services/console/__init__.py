"""The console: one process that serves pages and a JSON API to people, and keeps what they work on (decision 36)."""
