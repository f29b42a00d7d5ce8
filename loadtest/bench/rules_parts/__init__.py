"""What rules cost, ours and in the libraries that could stand in their place."""
