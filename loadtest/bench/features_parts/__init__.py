"""Parts of ``loadtest.bench.features``: one measured row, or a few that belong together, per file."""
