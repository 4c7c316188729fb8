"""Evaluation: how well predictions agree with outlines, in numbers and in pictures."""
