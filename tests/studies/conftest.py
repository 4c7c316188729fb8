"""A store of models and a folder of scans."""

from served import label_file, store, studies

__all__ = ["label_file", "store", "studies"]
