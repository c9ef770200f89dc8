"""What this host can enforce, found out by doing it.

Theory of operation. Each control has a probe (examine.py is the table) that does what a run does, through the same
wrappers in kernel/, in a forked child (attempt.py): the doctor's own process keeps its namespaces, mounts and limits,
and whatever the child made dies with it. A probe that fails is explained (causes.py) from its errno and from what the
host says about itself (host.py): the same EPERM is a sysctl on one host and a container's filter on another. The last
probe launches a whole sandbox and stops before the program.

``missing`` means that a run with the default profile is refused here, ``degraded`` that it works with less.
"""
