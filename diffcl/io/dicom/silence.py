"""What the DICOM libraries say on their own account: their warnings and logs quote headers, and so may name patients.

The filter is put up once for the whole process and never taken away: `warnings.catch_warnings` holds for all threads,
so that one thread would open the mouth of another.
"""

from __future__ import annotations

import logging
import warnings
from typing import Final

LIBRARIES: Final = ("pydicom", "highdicom", "pynetdicom", "dicomweb_client")

LOGS: Final = ("pydicom", "highdicom", "retrying")
"""Loggers that repeat values of headers, or the stack of every failure. Those of pynetdicom tell of associations."""


def silence() -> None:
    """Show no warning that one of the libraries raises, and nothing that they log; doing it again changes nothing."""
    warnings.filterwarnings("ignore", module=rf"({'|'.join(LIBRARIES)})(\.|$)")
    for name in LOGS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
