"""The parts of the craft as data, for ``netwright list``, ``explain`` and the docs. No torch."""
