"""Fixtures of the unit tests."""

from tests.unit.policy_case import home

__all__ = ["home"]
