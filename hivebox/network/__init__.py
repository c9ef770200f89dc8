"""The allowlist: a relay outside the sandbox, and what it knows.

    payload ── any address is local to its empty namespace ──→ listeners that init opened there
                                                                │  descriptors, sent once
    hivebox-net (a process of its own, outside) ────────────────┘
      dns      an allowed name gets an address of 198.18.0.0/15 or 2001:2::/48; any other NXDOMAIN, and no packet
      accept   the address it was called by says which name was meant; the rules say whether
      sni/host the first bytes must name the same host
      resolve  only now, and only for what is allowed; what it leads to must be a place one may reach by name
      connect  to exactly the address that was looked at
      relay    splice(2), until both sides are done or a limit is reached

The payload's namespace has a route that makes every address of the Internet its own, so nothing can leave it, every
attempt is answered at once, and all of them can be seen. It never holds a socket of the host.

The relay is a process, not a thread of the supervisor: a payload that floods it takes processor time from it, and
neither from the clock, nor from the answers to refused calls, nor through Python's lock. It is forked before the
signing key is read, has no rights to files, no capabilities, and ends with the supervisor.

``rules``, ``addresses``, ``dns``, ``tls`` and ``http`` do no I/O and know no sockets; ``loop`` is one epoll(7).
"""
