"""hivebox: run a script nobody has reviewed as if it were harmless, and sign a record of what it did.

Theory of operation. The folders follow the life of one run::

    profiles/*.yaml -> policy/ -> plan/ (ordered steps/) -> launch/ -> supervise/ -> report -> audit/

``pipeline.run()`` is that line as one page of code. Imports go only downward in the list that
``tests/test_architecture.py`` checks; docs/architecture.md gives the reasons.
"""

__version__ = "0.1.0"
