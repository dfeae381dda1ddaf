"""Copies of a training, changed: experiments that confirm causes, and repairs that are proved."""
