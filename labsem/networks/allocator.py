"""Settings of glibc's allocator under which inference loses no time to page faults."""

from __future__ import annotations

ALLOCATOR_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
"""Must be in a process's environment before it starts; other systems' allocators ignore it."""
