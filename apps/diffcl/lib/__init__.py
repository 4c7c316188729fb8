"""The parts of the MONAI Label app: translation between its requests and the diffcl library."""
