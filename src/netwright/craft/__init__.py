"""The parts of the craft: what each named part is, as data, for ``netwright list``, ``explain`` and the docs. No torch."""
