"""Every mistake in a profile is told with its place and what to do: golden transcripts in tests/vectors/profiles.

``HIVEBOX_UPDATE=1`` rewrites the transcripts; read the difference before keeping it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivebox.errors import ProfileError
from hivebox.policy.load import load_policy
from tests.unit.policy_case import Home

VECTORS = Path(__file__).parent.parent / "vectors" / "profiles"
SHIPPED = Path(__file__).parent.parent.parent / "profiles"
PROFILES = sorted(VECTORS.glob("*.yaml"))


def transcript(path: str, home: Home) -> str:
    with pytest.raises(ProfileError) as caught:
        load_policy(path)
    text = str(caught.value)
    for place, shown in ((VECTORS, "vectors"), (home.base, "home"), (SHIPPED, "shipped")):
        text = text.replace(str(place), shown)
    return text + "\n"


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_the_transcript(path: Path, home: Home) -> None:
    expected = path.with_suffix(".txt")
    text = transcript(str(path), home)
    if os.environ.get("HIVEBOX_UPDATE"):
        expected.write_text(text)
    assert text == expected.read_text()


def test_there_are_no_stray_transcripts() -> None:
    assert {path.stem for path in VECTORS.glob("*.txt")} == {path.stem for path in PROFILES}


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_three_parts_and_a_place(path: Path, home: Home) -> None:
    """Whatever the words: a place that exists, a caret below the source, a hint."""
    text = transcript(str(path), home)
    assert "\nwhy:  " in text
    assert "\ntry:  " in text
    places = [line for line in text.splitlines() if f"vectors/{path.name}:" in line]
    assert places
    if path.stat().st_size:
        assert "^" in text
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("name", ["nod", "../etc/passwd", "", "no\0de", "x" * 5000, "-p", ".", "..", "\udcff", "a\nb"])
def test_a_profile_that_is_not_there(name: str, home: Home) -> None:
    with pytest.raises(ProfileError):
        load_policy(name)


def test_the_nearest_name_is_offered(home: Home) -> None:
    home.profile("tally", "{}\n")
    with pytest.raises(ProfileError, match="did you mean tally"):
        load_policy("taly")


def test_a_fifo_does_not_hang(home: Home) -> None:
    path = home.chosen / "fifo.yaml"
    os.mkfifo(path)
    with pytest.raises(ProfileError, match="not a regular file"):
        load_policy(str(path))


def test_a_directory_or_a_large_file_is_refused(home: Home) -> None:
    path = home.profile("large", "# " + "x" * (1 << 20) + "\n")
    with pytest.raises(ProfileError, match="larger than"):
        load_policy(str(path))
    with pytest.raises(ProfileError, match="not a regular file"):
        load_policy(str(home.base) + "/")


def test_depth_does_not_crash_the_parser(home: Home) -> None:
    """In a process of its own: a C stack overflow is not an exception."""
    path = home.profile("deep", "[" * 60_000 + "\n")
    code = f"from hivebox.policy.load import load_policy\ntry: load_policy({str(path)!r})\nexcept Exception as e: print(type(e).__name__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "ProfileError\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user: root reads everything")
def test_an_unreadable_profile(home: Home) -> None:
    path = home.profile("secret", "{}\n")
    path.chmod(0)
    with pytest.raises(ProfileError, match="EACCES"):
        load_policy("secret")


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user: root reads everything")
def test_an_unreadable_security_policy_is_not_taken_for_none(home: Home) -> None:
    home.security("limits: {pids: 1}\n").chmod(0)
    with pytest.raises(ProfileError, match="EACCES"):
        load_policy("default")


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user: root reads everything")
def test_a_directory_that_may_not_be_searched_is_named_itself(home: Home) -> None:
    home.user.mkdir(parents=True)
    home.user.chmod(0)
    try:
        with pytest.raises(ProfileError) as caught:
            home.load("default")
    finally:
        home.user.chmod(0o700)
    assert caught.value.what == f"cannot look into {home.user}"
    assert "EACCES" in caught.value.why
