"""The page of an explorer, read back."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np


class PageFile:
    """The content of an explorer: its text, manifest and arrays."""

    def __init__(self, page: Path | str) -> None:
        self.text = page if isinstance(page, str) else page.read_text(encoding="utf-8")
        self.manifest = json.loads(self._unpack("manifest"))
        self.bytes = self._unpack("arrays")
        self.n_sheets = self.text.count('id="sheet-')

    def _unpack(self, name: str) -> bytes:
        found = re.search(rf'id="{name}">([^<]*)<', self.text)
        return gzip.decompress(base64.b64decode(found[1]))

    def array(self, at: dict) -> np.ndarray:
        return np.frombuffer(self.bytes, f"<{at['dtype']}", int(np.prod(at["shape"])), at["start"]).reshape(at["shape"])

    def column(self, name: str) -> dict:
        return next(column for column in self.manifest["columns"] if column["name"] == name)
