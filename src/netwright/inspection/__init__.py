"""A traced network → what can be known about it before it is trained."""
