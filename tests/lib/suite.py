"""Runs test functions one after the other and closes with the line `N passed, N failed`."""
import sys
import time
import traceback


def run(tests, only=None):
    """tests: functions (their docstring's first line is their name) or (name, function) pairs."""
    passed = failed = 0
    for one in tests:
        name, function = one if isinstance(one, tuple) else (one.__name__, one)
        if only and only not in name:
            continue
        begin = time.monotonic()
        try:
            function()
            passed += 1
            print(f"ok {name} ({time.monotonic() - begin:.1f} s)", flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"FAIL {name} ({time.monotonic() - begin:.1f} s)", flush=True)
            traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


def main(tests):
    sys.exit(run(tests, sys.argv[1] if len(sys.argv) > 1 else None))


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(w) for w in what) or "not so")


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError(f"{what}: got {got!r}, expected {expected!r}")
