"""Arrays and texts inside a page: compressed bytes, written in base64."""

import base64
import gzip
import json
from typing import Any

import numpy as np

ALIGNED = 8  # bytes, of the largest type


class Arrays:
    """Arrays that a page reads from one block of bytes.

    Attributes:
        parts: their bytes, in order.
        n_bytes: of all parts.
    """

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.n_bytes = 0

    def add(self, values: np.ndarray, dtype: str = "f4") -> dict[str, Any]:
        """Add an array; returns where it is, for the manifest.

        Args:
            values: of any shape.
            dtype: its type on the page: f8, f4, f2, u1 or i4.
        """
        content = np.ascontiguousarray(values, f"<{dtype}").tobytes()
        place = {"dtype": dtype, "start": self.n_bytes, "shape": list(values.shape)}
        self.parts.append(content + b"\0" * (-len(content) % ALIGNED))
        self.n_bytes += len(self.parts[-1])
        return place

    def text(self) -> str:
        """Return all arrays as text."""
        return compressed(b"".join(self.parts))


def compressed(content: bytes) -> str:
    """Return bytes as text, compressed by gzip."""
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def compressed_json(content: Any) -> str:
    """Return plain values as text, compressed by gzip."""
    return compressed(json.dumps(content, allow_nan=False).encode())
