"""The annotator's hand: what is drawn or clicked is kept to the voxel, and the rest follows."""
