"""Image files: NIfTI, NRRD, MetaImage and HDF5, read with every doubt checked, and written whole."""
