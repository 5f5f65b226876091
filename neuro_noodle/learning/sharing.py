"""How a training uses memory and processor cores, ."""

import ctypes


def keep_freed_memory() -> None:
    """Keep freed memory in this process: each step allocates the same tensors again, and new pages are slow.

    Works with the allocator of the GNU C library; others are left as they are.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, -1)
