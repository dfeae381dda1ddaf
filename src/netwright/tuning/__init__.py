"""Which recipe is best: spaces of recipes, samplers, studies, importance. ``run`` comes in as a function. No torch."""
