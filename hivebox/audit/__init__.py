"""The audit ledger: what ran, under which controls, how it ended; signed, chained, durable.

Theory of operation. Every run leaves two records. ``started`` is on the disk before the payload runs, ``finished``
after it ended; a start without an end is evidence too (``incomplete``). A record is an in-toto Statement in a DSSE
envelope, signed with Ed25519 and written as one line of canonical JSON to ``<state>/audit/ledger.jsonl``. Each
statement carries its position and the SHA-256 of the line before it, so that an edited, deleted, moved, repeated or
replayed line shows. What the file alone cannot show is that its end was cut off: keep a head (``audit verify`` prints
it) somewhere else and give it back with ``--head``.

    statement (what is said) -> canonical (its one byte form) -> envelope (signed) -> journal (durable) = ledger
    verify reads the same stack backwards and does no I/O; docs/audit-format.md describes every byte.

``keys`` and ``journal`` trust only files that belong to the caller and that nobody else can write (``custody``).
Nothing here imports ``cryptography`` before it signs or verifies, and the caller loads the key only after the fork: the
payload's address space never held it.
"""
