"""Files of other people's making as transactions and labels."""
