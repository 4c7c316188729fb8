"""Cases and datalists, the working grid, augmentation and batches."""
