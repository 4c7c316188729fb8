"""Clinical segmentation that learns from a few labelled scans and all the unlabelled ones."""
