"""Files as batches of columns: CSV in its dialects, Parquet. Nothing here knows what a transaction is."""
