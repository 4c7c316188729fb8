"""MONAI Label's handlers behind what protects a server, and the start of it."""
