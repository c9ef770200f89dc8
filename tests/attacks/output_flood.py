"""Print without end, until the log or the caller's memory is full.

Source: denial of service (CWE-400): `yes`.
Stopped by: limits.output.
"""

import os

EXPECT = {
    "limits": {"output_size_bytes": 100_000},
    "outcome": "output",
    "cause": "output_size",
    "without": ["limits.output"],
}

block = b"x" * 10_000
for number in range(100):
    os.write(1 + number % 2, block)
print("BREACH: a megabyte where 100 kB were allowed")
