"""Publishing: from a run to a version of a model, and the gate before it."""

from diffcl.publishing.candidate import publish
from diffcl.publishing.gate import publish_if_not_worse

__all__ = ["publish", "publish_if_not_worse"]
