"""MONAI Label's training tasks over the trainings of the library."""
