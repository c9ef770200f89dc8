"""From ``go`` to the end of the run: one event loop over descriptors, which keeps the clock, the meters, the output,
and answers refused calls. First cause wins: whatever else happens while a run is being killed does not change why.
"""
