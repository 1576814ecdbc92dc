"""Keep freed memory: a feature map of hundreds of megabytes is allocated for every layer of every image.

By default glibc asks the system for such a block anew each time, and the system clears every page of it: half
of the time that stock torchvision spends on a mammogram.
"""

from __future__ import annotations

import ctypes
import platform

# mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX. glibc raises the first two by itself as large
# blocks are freed, the second to at most the value here, but no longer once a program has set any of them. So
# this cannot be taken back.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell the allocator of this process to reuse freed memory and never to give it back.

    The process then stays as large as it once was. Returns whether it could be told: on Linux with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
