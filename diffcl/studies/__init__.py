"""Studies: scans and their labels, as an annotation project keeps them, without a server."""
