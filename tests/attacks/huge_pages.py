"""Take huge pages that the host has reserved for others: no memory control group counts them.

Source: memfd_create(2), mmap(2), shmget(2): none needs a privilege for huge pages; hugetlbpage.rst in the kernel.
Stopped by: syscalls: the filter answers ENOMEM, as where none are reserved.
"""

import os
import sys

EXPECT = {
    "since": "6.3",
    "absent": "CONFIG_HUGETLBFS",
    "without": ["syscalls.memfd_create"],
    "polled": {"without": ["syscalls.memfd_create+syscalls.memory_files"]},  # where nothing counts them, there are none
}

NOEXEC_SEAL, HUGETLB = 8, 4
try:
    os.memfd_create("huge", NOEXEC_SEAL | HUGETLB)
except OSError as error:
    print("ABSENT: huge pages")
    sys.exit(f"refused: {error}")
print("BREACH: a file of huge pages")
