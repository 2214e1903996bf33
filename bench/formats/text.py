"""A file's bytes as text: UTF-8 or, where its first bytes say so, UTF-16 (Excel's Unicode text)."""

from __future__ import annotations

import codecs
from pathlib import Path

from bench.errors import DataError
from bench.files import refuse_pipe

# First bytes of files that are no text at all -> what to do with them.
_BINARY = {
    b"PK\x03\x04": "this is a zip archive or an Excel file: save the table as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "this is an old Excel file: save the table as CSV UTF-8",
    b"PAR1": "this is a Parquet file: `pandas.read_parquet(FILE).to_csv(OTHER, index=False)`",
    b"\x80\x04": "this is a Python pickle: save a CSV file with the columns study_id,report",
    b"\x80\x05": "this is a Python pickle: save a CSV file with the columns study_id,report",
    b"\x1f\x8b": "this is gzip: unpack it first",
}
_MARKED = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(path: Path) -> str:
    """The whole file, without a byte order mark; line ends as they are.

    DataError for what is no text, or text in an encoding that nothing says: names the line.
    """
    try:
        refuse_pipe(path)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "give a file of reports") from None
    for start, advice in _BINARY.items():
        if data.startswith(start):
            raise DataError(f"{path} is no text file", advice)
    encoding = _MARKED.get(data[:2], "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: not UTF-8",
            "save the file as UTF-8 (Excel: CSV UTF-8; iconv -f WINDOWS-1252 -t UTF-8 FILE)",
        ) from None
    if "\0" in text[:4096]:
        raise DataError(
            f"{path} holds bytes of value 0", "it may be UTF-16 without a mark: save it as UTF-8"
        )
    return text
