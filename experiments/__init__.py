"""Experiments that take longer than a chapter may: each a module, and what it found a file beside it."""
