"""The network allowlist against real clients and servers, in network namespaces of the tests' own (world.py)."""
