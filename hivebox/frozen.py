"""Frozen records that cost microseconds to define.

``typing.NamedTuple`` compiles a constructor for each class: 0.2 ms, and a run defines thirty of them before its sandbox
exists (docs/performance.md#cold-start). A Frozen is the same thing to its users: a tuple with named, typed fields,
defaults, ``_asdict`` and ``_replace``; only its constructor is shared. Off the run path use NamedTuple.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]  # as collections.namedtuple does

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_: object) -> object:
        """Only the type checker reads it."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Frozen(tuple[Any, ...] if TYPE_CHECKING else tuple):  # type: ignore[misc]  # a plain tuple at run time
    """Fields are the annotations of the subclass, in order; those with a value are optional."""

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = ()
    _field_defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)
        cls._field_defaults = {name: cls.__dict__[name] for name in cls._fields if name in cls.__dict__}
        for index, name in enumerate(cls._fields):
            setattr(cls, name, _tuplegetter(index, name))

    if not TYPE_CHECKING:

        def __new__(cls, *values: Any, **named: Any) -> Self:
            """Raises TypeError as a function with this signature would."""
            missing = cls._fields[len(values) :]
            if named or missing:
                defaults = cls._field_defaults
                values += tuple(named.pop(name) if name in named else defaults[name] for name in missing)
            if named or len(values) != len(cls._fields):
                raise TypeError(f"{cls.__name__} takes {cls._fields}, got {len(values)} values and {sorted(named)}")
            return tuple.__new__(cls, values)

    def __getnewargs__(self) -> tuple[Any, ...]:
        """For pickle and copy: __new__ takes the fields, not one tuple of them."""
        return tuple(self)

    def _asdict(self) -> dict[str, Any]:
        """Field name -> value."""
        return dict(zip(self._fields, self, strict=True))

    def _replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return type(self)(**{**self._asdict(), **changes})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._asdict().items())})"
