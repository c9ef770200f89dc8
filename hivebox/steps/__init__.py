"""Every control is one Step in one file.

A step's life, in the order of the calls: ``describe()`` whenever somebody asks what it does; in the supervisor
``prepare()`` (open what must be opened with the caller's rights) and, once the child exists, ``attach(pid)``; in the
process that becomes the payload ``enter()``, ``set_up()`` and ``confine()``; at last, in the supervisor, ``release()``.
The order of the steps in a plan (plan/resolve.py) is the order in which they are applied.

What runs in that process imports nothing, logs nothing and reads no configuration.
"""
