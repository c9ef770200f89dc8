"""The service ends with each module: the check for what is left behind comes before the interpreter's own end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import hivebox
from hivebox.service import client


@pytest.fixture(scope="module", autouse=True)
def _service_ends() -> Iterator[None]:
    hivebox.run(code="pass")  # the root is built: which takes longer on a busy machine than a test waits
    yield
    client.end()
