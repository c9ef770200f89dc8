"""Fixtures of the unit tests."""

from hypothesis import settings

from tests.unit.policy_case import home

__all__ = ["home"]

settings.register_profile("shared", deadline=None)  # a shared machine is slow at times
settings.load_profile("shared")
