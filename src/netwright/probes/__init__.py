"""One measurement a file: what it measures, in which unit, what it costs. A probe knows no threshold."""
