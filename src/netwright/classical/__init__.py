"""What learned before deep networks did: features by hand, linear machines, nearest neighbours. No torch."""
