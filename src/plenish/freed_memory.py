"""What the C library does with memory that is free again."""

from __future__ import annotations

import contextlib
import ctypes


def reuse_freed_memory() -> bool:
    """Have the C library keep the memory of freed tensors for the next ones; whether it can.

    glibc asks the kernel anew for every block above 32 MiB, and touching its pages costs as much as a pass
    over a large tensor: 4.5 % of a DCGAN step in float32, 2.7 % in bfloat16. The peak grows by up to 5 %.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_max = -1, -4
        return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1))
    return False


def return_freed_memory() -> bool:
    """Have the C library give the system what `reuse_freed_memory` made it keep; whether there was any.

    For a process that waits for requests: what one of them needed is kept by no thread until the next.
    """
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).malloc_trim(0))
    return False
