"""The only package that talks to the kernel beyond the standard library's ``os``.

Each wrapper carries the man-page name of its call, raises OSError whose ``filename`` names the call and its
object ("mount(/proc)"), and does nothing else. Nothing here decides; the steps do. Kept importable in a few
milliseconds: _ctypes only, because pyroute2, pyseccomp and python-prctl cost 10 to 300 ms each at import
(seccomp_compile imports pyseccomp when, and only when, a program is compiled).
"""
