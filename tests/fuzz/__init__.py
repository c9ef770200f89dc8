"""Coverage-guided fuzzing of what a hostile payload, or the Internet, sends to the relay. By hand, with atheris:

    pip install atheris
    python -m tests.fuzz.run tls -max_total_time=600 NEW_DIRECTORY

What was found lives in seeds/ and is run by the suite (tests/unit/test_network_seeds.py).
"""
