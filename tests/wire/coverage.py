#!/usr/bin/env python3
"""Which entry of data/ tests which normative statement: `tests/wire/coverage.py [--list]`.

statements.txt names all statements of both standards, README.md those that are left out and why.
A statement that binds a server has an entry that names it, or stands in the README's table; one line
for each that has neither, or both, and for every name in an entry that the standards do not have.
"""
import glob
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
STATEMENT = re.compile(r"(?P<id>[\d.]+-\d+)\s+(?P<who>client|server|both)\s+(?P<words>.+)")
NAME = re.compile(r"(?P<old>311:)?MQTT-(?P<id>[\d.]+-\d+)$")
SECTION = re.compile(r"(311:|MQTT-)\d+(\.\d+)+$")
LEFT_OUT = re.compile(r"\| (?P<version>5\.0|3\.1\.1) \| (?P<ids>[\d., -]+) \| .+ \|$")


def statements():
    """{version: {id: (who, words)}}"""
    found, version = {}, None
    with open(os.path.join(HERE, "statements.txt"), encoding="utf8") as f:
        for line in f:
            line = line.strip()
            if line.startswith("["):
                version = line.strip("[]")
                found[version] = {}
            elif line and not line.startswith("#"):
                m = STATEMENT.match(line)
                found[version][m["id"]] = (m["who"], m["words"])
    return found


def left_out():
    """{(version, id)} of the README's table"""
    found = set()
    with open(os.path.join(HERE, "README.md"), encoding="utf8") as f:
        for line in f:
            m = LEFT_OUT.match(line.strip())
            if m:
                found |= {(m["version"], i.strip()) for i in m["ids"].split(",")}
    return found


def covered(known, complaints):
    """{(version, id): [names of entries]}"""
    same = {}
    for old, (_, words) in known["3.1.1"].items():
        if words.startswith("= "):
            same.setdefault(words[2:], []).append(old)
            if words[2:] not in known["5.0"]:
                complaints.append(f"statements.txt: 3.1.1 {old} {words}: no such statement")
    found = {}
    for path in sorted(glob.glob(os.path.join(HERE, "data", "[0-9]*.json"))):
        table = os.path.basename(path)
        with open(path, encoding="utf8") as f:
            entries = json.load(f)["tests"]
        for entry in entries:
            versions = entry["version"] if isinstance(entry["version"], list) else [entry["version"]]
            name = f"{table}: {entry['name']}"
            for spec in entry["spec"]:
                m = NAME.match(spec)
                if not m:
                    if not SECTION.match(spec):
                        complaints.append(f"{name}: {spec} is neither a statement nor a section")
                    continue
                if m["id"] not in known["3.1.1" if m["old"] else "5.0"]:
                    complaints.append(f"{name}: no statement {spec}")
                if m["old"] and 4 not in versions:
                    complaints.append(f"{name}: {spec} is never played")
                if 5 in versions and not m["old"]:
                    found.setdefault(("5.0", m["id"]), []).append(name)
                if 4 in versions:
                    for old in [m["id"]] if m["old"] else same.get(m["id"], []):
                        found.setdefault(("3.1.1", old), []).append(name)
    return found


def main():
    complaints = []
    known, out = statements(), left_out()
    found = covered(known, complaints)
    for version, i in sorted(out):
        if i not in known[version]:
            complaints.append(f"README.md: no statement {i} of {version}")
    for version, ids in known.items():
        for i, (who, words) in ids.items():
            has, excused = (version, i) in found, (version, i) in out
            if who != "client" and not has and not excused:
                complaints.append(f"{version} {i} ({words}): no entry and no reason")
            if has and excused:
                complaints.append(f"{version} {i}: left out, and yet in {found[version, i][0]}")
            if "--list" in sys.argv:
                print(f"{version} {i} ({who}: {words}): {len(found.get((version, i), []))} entries"
                      + (", left out" if excused else ""))
                for name in found.get((version, i), []):
                    print(f"    {name}")
    print("".join(c + "\n" for c in complaints), end="")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
