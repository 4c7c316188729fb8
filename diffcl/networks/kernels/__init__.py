"""Kernels that are compiled for the processor; each stands beside a plain definition.

Nothing imports them before they are to compute, so that the definitions do not need the compiler.
"""

WIDTH = 16
"""Channels that a kernel takes together, one in each lane."""
