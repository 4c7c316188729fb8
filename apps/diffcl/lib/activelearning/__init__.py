"""MONAI Label's strategies over those of the library."""
