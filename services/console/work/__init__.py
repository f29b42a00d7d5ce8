"""What analysts do with reviews: locks, labels, notes."""
