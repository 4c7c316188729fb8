"""Loss terms of Diff-CL, with the paper's names."""
