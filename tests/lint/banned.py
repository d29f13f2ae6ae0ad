#!/usr/bin/env python3
"""Complains of calls that the product's sources may not make.

  tests/lint/banned.py FILE...
  tests/lint/banned.py --self-test
"""
import re
import sys

from csource import blank

BANNED = {
    "strcpy": "use snprintf or memcpy with a checked length",
    "strcat": "use struct buf or snprintf",
    "strncpy": "it may leave no NUL; use snprintf",
    "strncat": "use struct buf or snprintf",
    "stpcpy": "use snprintf",
    "sprintf": "use snprintf",
    "vsprintf": "use vsnprintf",
    "gets": "use fgets or read",
    "scanf": "parse with a bound",
    "sscanf": "overflow of a number is undefined; use strtoll",
    "strtok": "keeps hidden state; use strcspn or slices",
    "atoi": "no errors; use strtoll and check",
    "atol": "no errors; use strtoll and check",
    "atoll": "no errors; use strtoll and check",
    "atof": "no errors; use strtod and check",
    "rand": "predictable; use crypto_random",
    "srand": "predictable; use crypto_random",
    "random": "predictable; use crypto_random",
    "drand48": "predictable; use crypto_random",
    "alloca": "unbounded stack",
    "system": "a shell",
    "popen": "a shell",
    "tmpnam": "a race; use mkstemp",
    "mktemp": "a race; use mkstemp",
    "gmtime": "a shared buffer; use gmtime_r",
    "localtime": "a shared buffer; use localtime_r",
    "ctime": "a shared buffer; use strftime",
    "asctime": "a shared buffer; use strftime",
    "strerror_l": "use strerror or err_text",
    "inet_ntoa": "a shared buffer; use inet_ntop",
    "gethostbyname": "use getaddrinfo",
    "setjmp": "errors are returned",
    "longjmp": "errors are returned",
    "fork": "threads and fork do not mix",
}
# A call: the name, not part of a longer one, not a member, not a declaration's own macro.
CALL = re.compile(r"(?<![\w.])(?<!->)(" + "|".join(BANNED) + r")\s*\(")


def complaints(path, text):
    for found in CALL.finditer(blank(text)):
        line = text.count("\n", 0, found.start()) + 1
        yield f"{path}:{line}: {found.group(1)}: {BANNED[found.group(1)]}"


SAMPLES = [
    ("x = strcpy(a, b);", True),
    ("x = strcpy (a, b);", True),
    ("snprintf(a, 3, \"sprintf(\");", False),
    ("/* strtok( */", False),
    ("// rand()\n", False),
    ("my_rand();", False),
    ("rand_state(3);", False),
    ("ops->random(3);", False),
    ("n = atoi(s);", True),
    ("char c = '\"'; n = atoi(s);", True),
]


def main():
    if sys.argv[1:] == ["--self-test"]:
        wrong = [s for s, bad in SAMPLES if bool(list(complaints("sample", s))) != bad]
        for sample in wrong:
            print(f"banned: misjudged: {sample}")
        return 1 if wrong else 0
    found = False
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as f:
            for complaint in complaints(path, f.read()):
                print(complaint)
                found = True
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
