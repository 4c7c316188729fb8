"""DICOM objects: series of images, segmentations and structured reports, read and written."""
