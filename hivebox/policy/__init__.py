"""Profiles: from YAML to one frozen ``Policy``.

A profile is written for people (``profiles/*.yaml``), checked against a strict schema with line and column, merged
with what it extends, and held against ``security_policy.yml``, which says the most that any profile or command line
may grant. What comes out, a ``Policy`` (model), is complete: no later part asks what an absent value means.

``hivebox run`` reads profiles through ``load``, which keeps compiled policies by the digests of the files they came
from, because PyYAML and msgspec cost more to import than the whole sandbox. Light, on that path: model, load, sources,
bounds, grants. Everything else here is imported when a profile has changed or a command asks about it:

    document   YAML text -> nodes that know their line; mistakes with a caret
    schema     what the keys are, and their types (also the JSON Schema for editors)
    decode     nodes -> checked values, every mistake of a file at once
    security_policy, profile   files -> Bounds, Policy
    explain, show, check       a policy in words, written out as one profile, and what is questionable about it
    importer   the predecessor's policy file as a profile
"""
