"""How the error of a network goes with data, capacity and batch size: laws, decompositions, conclusions. No torch."""
