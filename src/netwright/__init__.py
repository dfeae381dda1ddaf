"""netwright carries one neural network through its whole life: inspect, train, diagnose, repair, tune, compress, export."""

__version__ = "0.1.0"
