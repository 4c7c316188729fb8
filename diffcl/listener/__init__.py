"""Unattended segmentation: series come in by C-STORE, wait on disk, are segmented, and the results are sent on."""
