"""Whatever is in a file, reading it as a profile gives a Policy or a ProfileError: never anything else."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from hivebox import locations
from hivebox.errors import ProfileError
from hivebox.policy import schema
from hivebox.policy.bounds import OFF_FIELDS
from hivebox.policy.model import Policy, policy_from_plain, policy_to_plain
from hivebox.policy.profile import compile_profile

FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", autouse=True)
def _no_configuration() -> Iterator[None]:
    """This host's security_policy.yml is not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locations, "SYSTEM_CONFIG", "/nonexistent")
        patch.setenv("XDG_CONFIG_HOME", "/nonexistent")
        yield


def outcome(content: bytes) -> Policy | None:
    """Checks what every outcome has in common."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "p.yaml"
        path.write_bytes(content)
        try:
            policy = compile_profile(str(path)).policy
        except ProfileError as error:
            assert error.what
            assert error.why
            assert all(character.isprintable() or character == "\n" for character in str(error))
            return None
    assert all(isinstance(value, str) or math.isfinite(value) for value in policy.limits)
    assert all(
        isinstance(value, str) or value > 0 or name in OFF_FIELDS for name, value in policy.limits._asdict().items()
    )
    assert policy_from_plain(json.loads(json.dumps(policy_to_plain(policy)))) == policy
    return policy


def keys() -> list[str]:
    sections = [kind for kind in vars(schema).values() if isinstance(kind, type) and issubclass(kind, schema.Struct)]
    return sorted({field.encode_name for section in sections for field in fields(section)} | {"<<"})


KEYS = st.sampled_from(keys())
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(
        ["@base", "@exec", "read", "/srv", "/srv:/x", "/", "64M", "10s", "all", "poll", "landlock", "none", "default",
         "p.yaml", ".inf", "1e999", "-1", "0x10", "1:30", "2020-01-01", "\x85", "\u2028"]
    ),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda child: st.lists(child, max_size=3) | st.dictionaries(KEYS, child, max_size=4), max_leaves=12
)


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    outcome(content)


@FUZZ
@given(st.text(alphabet="ab:-[]{}#&*!|>'\"%@`, \n\t\r\x85\u2028\ufeff\\x0?é\U0001d11e", max_size=60))
def test_any_text_of_yaml_signs(text: str) -> None:
    outcome(text.encode())


@FUZZ
@given(st.dictionaries(KEYS, VALUES, max_size=5), st.booleans())
def test_any_document_of_known_keys(document: dict[str, Any], flow: bool) -> None:
    outcome(yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True).encode("utf-8", "surrogatepass"))


SECTIONS = {
    field.encode_name: st.fixed_dictionaries(
        {},
        optional={
            inner.encode_name: LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.text(max_size=3), LEAVES)
            for inner in fields(getattr(schema, field.encode_name.capitalize() + "Section"))
        },
    )
    for field in fields(schema.ProfileDocument)
    if hasattr(schema, field.encode_name.capitalize() + "Section")
}


@FUZZ
@given(st.fixed_dictionaries({}, optional=SECTIONS))
def test_any_values_in_the_right_sections(document: dict[str, Any]) -> None:
    outcome(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))


VALID = st.fixed_dictionaries(
    {},
    optional={
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "memory": st.integers(1, 4096).map(lambda number: f"{number}M"),
                "pids": st.integers(1, 1000),
                "wall_time": st.floats(0.1, 1000).map(lambda number: round(number, 3)),
                "cpus": st.sampled_from(["all", 1, 0.5]),
            },
        ),
        "syscalls": st.fixed_dictionaries({"groups": st.lists(st.sampled_from(["@base", "@python", "@exec"]))}),
        "environment": st.fixed_dictionaries({"set": st.dictionaries(st.sampled_from("ABC"), st.just("x"))}),
    },
)


@FUZZ
@given(VALID)
def test_what_is_right_is_read_as_written(document: dict[str, Any]) -> None:
    """So that the tests above cannot pass by refusing everything."""
    policy = outcome(yaml.safe_dump(document).encode())
    assert policy is not None
    limits = document.get("limits", {})
    assert policy.limits.pids == limits.get("pids", 64)
    assert policy.limits.wall_time_s == limits.get("wall_time", 30.0)
    if "syscalls" in document:
        assert list(policy.syscalls.groups) == list(dict.fromkeys(document["syscalls"]["groups"]))
    assert dict(policy.environment.set) == document.get("environment", {}).get("set", {})


@pytest.mark.parametrize("depth", [10, 1000, 60_000])
@pytest.mark.parametrize("sign", ["[", "{a: ", "- ", "? "])
def test_depth_is_refused_before_it_costs_anything(sign: str, depth: int) -> None:
    assert outcome((sign * depth)[: 60 << 10].encode()) is None
