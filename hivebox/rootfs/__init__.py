"""The read-only root of a sandbox: content-addressed trees, built once from a recipe, then only looked up.

Theory of operation. A recipe (rootfs/<name>.yaml) says what a root holds. ``build`` turns it and an interpreter into an
inventory (tree path -> what to copy, link or compile), copies that into a private directory, hashes what it copied, and
renames the directory to ``<state>/rootfs/trees/<digest>``::

    recipe -> plan -> inventory (+ python, closure, bytecode) -> stage -> digest -> rename -> index

``store`` is the hot path: it reads one small index file, compares a handful of stat results with those taken at build
time, and returns a ``Tree``, or None when something changed. It never hashes; ``trees.verify`` does.

Nothing of what is copied is ever executed or imported here, and no interpreter, ldd or ldconfig is run: an interpreter
may come from a directory that nobody has reviewed. ELF files, pyvenv.cfg and ld.so.cache are parsed, with bounds.
"""
