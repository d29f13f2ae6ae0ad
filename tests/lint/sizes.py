#!/usr/bin/env python3
"""Complains of functions over 100 lines, files over 700 and headers over 300.

What to aim for is 60, 600 and 200; these are the lines past which nothing lands. In tests, whose
fixtures are headers and whose tables are long, a file or header may have 1000.
"""
import re
import sys

from csource import blank

FUNCTION, FILE, HEADER, TEST = 100, 700, 300, 1000
# Came as one file, and is measured against as it came.
EXEMPT = {"tests/bench/mqttload.c"}


def functions(text):
    """Yields (name, first line, lines) of every function body: clang-format puts its braces, and
    only those of functions and initialisers, into the first column."""
    lines = blank(text).split("\n")
    start = None
    for i, line in enumerate(lines):
        if line.startswith("{"):
            start = i
        elif line.startswith("}") and start is not None:
            head = " ".join(lines[max(0, start - 6):start])
            names = re.findall(r"(\w+)\s*\(", head.split("}")[-1].split(";")[-1])
            yield (names[0] if names else "?"), start + 1, i - start - 1
            start = None


def main():
    found = False
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as f:
            text = f.read()
        if path in EXEMPT:
            continue
        limit = TEST if path.startswith("tests/") else HEADER if path.endswith(".h") else FILE
        n = text.count("\n")
        complaints = [f"{path}:1: {n} lines, the limit is {limit}"] if n > limit else []
        complaints += [f"{path}:{line}: {name}() has {size} lines, the limit is {FUNCTION}"
                       for name, line, size in functions(text) if size > FUNCTION]
        for complaint in complaints:
            print(complaint)
            found = True
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
