"""DICOMweb: archives that are asked over HTTP."""
