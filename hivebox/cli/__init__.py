"""The commands. Only this package prints. ``run`` parses its own options and imports little, because its start-up
time is the product; every other command is one file with ``run(argv) -> int``, imported when it is asked for.
"""
