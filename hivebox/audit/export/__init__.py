"""Handing records on to collectors: what is sent (``forms``) and where to (``targets``), at least once, in order.

An export is a process of its own that reads the ledger behind a cursor (``cursor``): it can be slow, fail or be down,
and no run notices. The cursor moves when the target has taken a batch, so after a crash the last batch may come twice,
and nothing is left out. Another form or target is one function and one line in a table.
"""
