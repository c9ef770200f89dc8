"""Whole hosts: as Debian installs one, and with less in them than hivebox wants, for real.

Each module is one boot of a virtual machine by scripts/test-vm, which says how: ``test_whole`` an ordinary user of a
machine as it is, ``test_reduced`` root, who takes something away from the running machine and gives it back, ``test_booted``
a kernel that was started without something. What can be taken away from one process alone is in tests/kernel/test_doctor.
"""
