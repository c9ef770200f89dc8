"""Fuzzing of what a hostile payload, or the Internet, sends to the relay: ``scripts/fuzz``.

    targets   one function for each parser, and what must hold
    run       coverage-guided, with atheris
    shapes    what hypothesis makes of them (tests/unit/test_network_fuzz.py)

What was found lives in seeds/ and is run by the suite (tests/unit/test_network_seeds.py).
"""
