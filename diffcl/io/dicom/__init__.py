"""DICOM objects: series of images, segmentations and structured reports, read and written.

Importing it silences the warnings of the DICOM libraries, which may name the patient, for the whole process.
"""

from diffcl.io.dicom.silence import silence

silence()
