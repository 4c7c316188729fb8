"""MONAI Label's inference tasks over the models of the library."""
