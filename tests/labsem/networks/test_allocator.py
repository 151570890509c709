"""Memory that is free but scattered goes back to the system on request, and only then."""

import json
import os
import subprocess
import sys

import pytest

from labsem.networks.allocator import ALLOCATOR_ENVIRONMENT

SCATTERED = """
import json, os, sys
import numpy as np
from labsem.networks.allocator import release_free_memory

def resident_mib():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

blocks = [np.ones(1 << 17) for _ in range(200)]  # of 1 MiB
used = resident_mib()
del blocks[:-1]
freed = resident_mib()
release_free_memory()
json.dump([used, freed, resident_mib(), float(blocks[0].sum())], sys.stdout)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps memory so")
def test_free_memory_is_given_back() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCATTERED],
        env=os.environ | ALLOCATOR_ENVIRONMENT,
        stdout=subprocess.PIPE,
        check=True,
    )
    used, freed, given_back, still_there = json.loads(ended.stdout)
    assert used - freed < 20
    assert freed - given_back > 150
    assert still_there == 1 << 17
