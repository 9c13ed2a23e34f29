"""Reads rows out of files, folders and the Hugging Face Hub, each as it stands: no types are inferred.

Text is read here, row by row. `datasets` would infer a type for each column: an answer "2020-01-01" becomes a date, "None"
in a CSV file becomes nothing, a line with too many cells shifts every column, and one bad line loses the file. Parquet and
Arrow files, which carry their types, are read by pyarrow, and only what is on the hub by `datasets`: a local file is never
copied into its cache, so that a changed file is never read stale.
"""

from prefd.daemon.worker.data.rows.placed import DataError, Place, Row, Rows
from prefd.daemon.worker.data.rows.source import read_rows

__all__ = ["DataError", "Place", "Row", "Rows", "read_rows"]
