"""Parts of ``loadtest.bench_features``: one measured row, or a few that belong together, per file."""
