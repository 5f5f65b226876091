"""The text of a table's file: decoded, with the delimiter of its fields; other kinds of files are refused by name."""

import codecs
import contextlib
import csv
import io
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from neuro_noodle.choices import UserError, require
from neuro_noodle.plain import counted

DELIMITERS = {"\t": "tabs", "|": "bars", ";": "semicolons", ",": "commas"}  # texts hold commas most, and tabs least
SPACES = {" ": "spaces"}  # only below a first line in quotes, as R writes it
N_LINES = 1000  # that decide which of them a table has
N_BYTES = 4096  # that tell what a file is

_SAVE = "save it as 'CSV UTF-8'"
_UNPACK = "unpack it, and name the table in it"
_PANDAS = 'convert it: import pandas; pandas.read_{}("{{file}}").to_csv("table.csv", index=False)'
_KINDS = {  # a regular expression of the first bytes: what the file is, and what to do
    rb"PK\x03\x04.{26}mimetype.{0,40}opendocument\.spreadsheet": ("a spreadsheet (OpenDocument)", _SAVE),
    rb"PK\x03\x04.*(\[Content_Types\]|_rels/|xl/)": ("an Excel file", f"open it and {_SAVE}"),
    rb"PK\x03\x04.*\.iwa": ("a Numbers file", "export it as CSV"),
    rb"PK\x03\x04": ("a zip archive", _UNPACK),
    rb"\xd0\xcf\x11\xe0": ("an Excel file (.xls) or another document of Office", f"open it and {_SAVE}"),
    rb"\x1f\x8b|BZh\d|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd": ("a compressed file", _UNPACK),
    rb"PAR1[^\w\s,;|\"]": ("a Parquet file", _PANDAS.format("parquet")),
    rb"ARROW1\0|FEA1\0": ("a Feather file", _PANDAS.format("feather")),
    rb"\x89HDF": ("an HDF5 file", _PANDAS.format("hdf")),
    rb"\x93NUMPY": ("a NumPy array", "save it as CSV"),
    rb"MATLAB ": ("a MATLAB file", "save its table with writetable"),
    rb"\x80[\x02-\x05]": ("a Python pickle, which is never opened", "save it as CSV"),
    rb"SQLite format": ("an SQLite database", "save its table as CSV"),
    rb"\s*(\xef\xbb\xbf)?\s*[\[{]\s*[\[{\"]": ("a JSON file", _PANDAS.format("json")),
    rb"\s*(\xef\xbb\xbf)?\s*<(\?xml|!(?i:doctype)|(?i:html|table))": (
        "an XML or HTML document",
        f"open it in a spreadsheet program and {_SAVE}",
    ),
    rb"%PDF|\{\\rtf": ("a PDF or RTF document", "save its table as CSV"),
    rb"version https://git-lfs": ("a pointer of Git LFS", "fetch its content: git lfs pull"),
    rb"\xff\xfe\0\0|\0\0\xfe\xff": ("text in UTF-32", _SAVE),
}
_QUOTED_WORDS = re.compile(r'\s*"[^"\r\n]*"(?: "[^"\r\n]*")+ *\r?(?:\n|$)')
_NAMED_DELIMITER = re.compile(r'"?sep=([^"\r\n])"?(?=[\r\n])', re.IGNORECASE)


@dataclass(frozen=True)
class TableText:
    """The text of a table.

    Attributes:
        text: all lines; a first line that names the delimiter (Excel's sep=;) is empty.
        delimiter: the character between fields.
    """

    text: str
    delimiter: str

    @property
    def delimiters(self) -> str:
        """The delimiter as a word."""
        return (DELIMITERS | SPACES).get(self.delimiter, f"'{self.delimiter}'")


def read_table_text(path: Path) -> TableText:
    """Read the text of a table in UTF-8, or in UTF-16 if its first bytes say so.

    Raises:
        UserError: if the file is missing, or is something other than text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"the table {path} cannot be read: {error.strerror}") from error
    for expression, (what, advice) in _KINDS.items():
        is_kind = re.match(expression, content[:N_BYTES], re.DOTALL)
        require(not is_kind, f"the table {path} is {what}; {advice.replace('{file}', path.name)}")
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    require(
        is_utf_16 or b"\0" not in content,
        f"the table {path} holds {counted(content.count(0), 'NUL byte')}, so it is damaged or no table in UTF-8 text; "
        f"{_SAVE}",
    )
    try:
        text = content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"the table {path} is not UTF-{16 if is_utf_16 else 8} text; {_SAVE}") from error
    named = _NAMED_DELIMITER.match(text)
    return TableText(text[named.end() :], named[1]) if named else TableText(text, find_delimiter(text))


def find_delimiter(text: str) -> str:
    """Return the first delimiter that cuts the header of a table into several fields, and its rows into equally many.

    If none does, it is the one that fewest rows disagree with. Rows that all have one more field agree.
    """

    def score(delimiter: str) -> tuple[bool, int]:
        rows = []
        with contextlib.suppress(csv.Error):  # reported when the table is read
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            rows = [row for row in islice(reader, N_LINES) if any(row)]
        n_fields = len(rows[0]) if rows else 0
        lengths = {len(row) for row in rows[1:]}
        n_wrong = 0 if lengths == {n_fields + 1} else sum(len(row) != n_fields for row in rows)
        return n_fields > 1, -n_wrong

    return max(DELIMITERS | SPACES if _QUOTED_WORDS.match(text) else DELIMITERS, key=score)
