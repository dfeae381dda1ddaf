"""Which recipe is better: recipes over the same seeds, their differences, and what those can tell. No torch."""
