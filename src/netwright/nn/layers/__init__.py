"""Layers that PyTorch lacks, one family a file."""
