"""Take memory until the host swaps or kills something else.

Source: denial of service (CWE-770).
Stopped by: limits.memory.
"""

EXPECT = {
    "limits": {"memory_bytes": 48_000_000},
    "outcome": "memory",
    "cause": "memory",
    "without": ["limits.memory"],
}

blocks = []
for _ in range(10):
    blocks.append(b"x" * (10 << 20))
print("BREACH: 100 MiB where 48 were allowed")
