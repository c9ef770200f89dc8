.PHONY: setup demo check test test-real test-audit test-many test-vm fuzz bench bench-audit

setup:
	scripts/setup
demo:
	scripts/demo
check: setup
	.venv/bin/ruff format --check hivebox tests
	.venv/bin/ruff check hivebox tests scripts
	.venv/bin/mypy hivebox
	.venv/bin/python -m pytest -q tests/test_architecture.py
test:
	scripts/test
test-real:
	scripts/test -m slow tests/real
test-audit:
	HIVEBOX_LONG_STRESS=1 scripts/test tests/unit/test_audit_stress.py
test-many:
	HIVEBOX_LONG_STRESS=1 scripts/test tests/kernel/test_cgroup.py -k 'random_moments or many_at_once'
test-vm:
	scripts/test-vm
fuzz:
	scripts/fuzz
bench: setup
	.venv/bin/python scripts/bench.py
	.venv/bin/python scripts/bench_library.py
	.venv/bin/python scripts/bench_audit.py
	.venv/bin/python scripts/bench_network.py
bench-audit: setup
	.venv/bin/python scripts/bench_audit.py --million
