"""Scans in, labels out: NIfTI, NRRD, MetaImage and DICOM, with every doubtful input refused in one line."""

from diffcl.io.formats import is_label, is_scan, scan_name
from diffcl.io.images.write import write_image
from diffcl.io.read import read_label, read_scan
from diffcl.io.scan import Scan

__all__ = ["Scan", "is_label", "is_scan", "read_label", "read_scan", "scan_name", "write_image"]
