"""Recipes: what is accepted, and how each mistake is named."""

from __future__ import annotations

import textwrap

import pytest

from hivebox.errors import HiveboxError
from hivebox.rootfs import recipe


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("HIVEBOX_CONFIG", str(tmp_path))
    (tmp_path / "rootfs").mkdir()

    def write(name: str, text: str) -> None:
        (tmp_path / "rootfs" / f"{name}.yaml").write_text(textwrap.dedent(text))

    return write


@pytest.mark.parametrize("name", ["python", "python-test", "shell", "node"])
def test_shipped_recipes_load(name):
    loaded = recipe.load(name)
    assert loaded.description
    assert loaded.interpreter in {"python", "node", "none"}


def test_extending_adds_to_lists_and_replaces_the_rest(write):
    write("base", "programs: {required: [ls], optional: [cat]}\nexclude: [/a]\ninterpreter: python\n")
    write("more", "extends: base\nprograms: {required: [git]}\nexclude: [/b]\n")
    loaded = recipe.load("more")
    assert loaded.programs == (("ls", "git"), ("cat",))
    assert loaded.exclude == ("/b",)
    assert loaded.interpreter == "python"
    assert [name for name, _ in loaded.sources] == ["more", "base"]


def test_a_users_recipe_goes_before_a_shipped_one(write):
    write("python", "description: mine\n")
    assert recipe.load("python").description == "mine"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("description: x\nprogram: {}\n", [":2:1: unknown key program", "did you mean programs?"]),
        ("programs: {require: [a]}\n", [":1:12: unknown key require", "did you mean required?"]),
        ("interpreter: ruby\n", [":1:14: interpreter is one of python, node, none"]),
        ("programs: [ls]\n", [":1:11: expected keys and values"]),
        ("programs:\n  required: ls\n", [":2:13: expected a list"]),
        ("programs: {optional: [true]}\n", [":1:23: expected a text", "quote"]),
        ("files: {required: [etc/x]}\n", [":1:20: expected an absolute path"]),
        ("files: {required: [/etc/../root]}\n", ["expected an absolute path"]),
        ("exclude: [/a]\nexclude: [/b]\n", [":2:1: exclude is given twice"]),
        ("", ["empty"]),
        ("a: [\n", ["it is not YAML"]),
        ("- a\n", ["expected keys and values"]),
        ("extends: missing\n", ["no root filesystem recipe called missing"]),
        ("extends: bad\n", ["in a circle", "bad -> bad\n"]),
        ("extends: ../bad\n", ["no root filesystem recipe called ../bad"]),
    ],
)
def test_mistakes_are_named(write, text, words):
    write("bad", text)
    with pytest.raises(HiveboxError) as caught:
        recipe.load("bad")
    for word in words:
        assert word in str(caught.value)
