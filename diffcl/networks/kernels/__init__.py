"""Kernels that are compiled for the processor; each stands beside a plain definition."""
