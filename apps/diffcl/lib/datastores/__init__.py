"""MONAI Label's datastore over the studies of the library."""
