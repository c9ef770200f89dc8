"""Runs for programs: one process attends all runs of a caller, who may have threads or an event loop.

    caller ── door ── service: supervises every run, clones every init; never has the key
                        └ recorder: has the key, writes the records, many by one fdatasync

The service is started by the first run, with exec (nothing of the caller's memory is in it), and ends with the caller:
every run has a socket whose end is the caller's word that it wants no more of it. It is single-threaded, as what clones
has to be; a run is a generator (waiting.py), so that hundreds fit in one loop and what each keeps is its init.
"""
