#!/usr/bin/env python3
"""Runs the suites one after the other, adds up what they say, ends with `N passed, N failed`.

A suite is an executable that exits 0 or 1 and says how many tests it ran: its last line that reads
`N passed, N failed`, or what Check prints. One that says nothing, runs nothing, takes too long or
leaves a process behind has failed. See tests/README.md.
"""
import argparse
import collections
import contextlib
import ctypes
import glob
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOTALS = re.compile(r"^(\d+) passed, (\d+) failed\b", re.MULTILINE)
CHECK = re.compile(r"Checks: (\d+), Failures: (\d+), Errors: (\d+)")
PR_SET_CHILD_SUBREAPER = 36
GRACE = 10  # seconds for a suite to end after SIGTERM, and for its children to go after it
SHOWN = 200  # lines of a failed suite's output
UNIT_WORKERS = 3  # unit tests that run at once
INTEG_WORKERS = 2  # of those that run a hub; wire and fault tests have the machine for themselves

Suite = collections.namedtuple("Suite", "name command limit as_user env", defaults=(False, None))


def children():
    """The processes whose parent we are: a suite's own, and those that it left behind."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{name}/stat", encoding="utf8", errors="replace") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.append(int(name))
    return found


def command_of(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().replace(b"\0", b" ").decode("utf8", "replace").strip()[:100]
    return "?"


def reap():
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_leftovers():
    """Gives what a suite left a moment to go, then ends it; returns what had to be ended."""
    stubborn, end = [], time.monotonic() + GRACE
    while children() and time.monotonic() < end:
        reap()
        time.sleep(0.05)
    while left := children():
        for pid in left:
            stubborn.append(f"{pid} {command_of(pid)}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
        reap()
    reap()
    return stubborn


def end_group(process):
    """Ends a suite and its process group, and nothing else."""
    for sig, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sig)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def count(output, status):
    """(passed, failed, complaint) from a suite's words and its exit status."""
    checks = CHECK.findall(output)
    totals = TOTALS.findall(output)
    if checks:
        bad = sum(int(f) + int(e) for _, f, e in checks)
        passed, failed = sum(int(n) for n, _, _ in checks) - bad, bad
    elif totals:
        passed, failed = map(int, totals[-1])
    else:
        return 0, 1, f"exit status {status}, and no word of how many tests ran"
    if status != 0 and failed == 0:
        return passed, 1, f"exit status {status}"
    if passed + failed == 0:
        return 0, 1, "ran no test"
    return passed, failed, None


class Runner:
    def __init__(self, options):
        self.soak = options.soak
        self.words = options.suites
        self.passed = self.failed = 0
        self.drop = []
        if os.geteuid() == 0:
            self.user = pwd.getpwnam("holdfast")
            self.drop = ["setpriv", "--reuid=holdfast", "--regid=holdfast", "--init-groups",
                         "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all", "--"]

    def wants(self, name):
        return not self.words or any(name == w or name.startswith(w + "/") for w in self.words)

    def wants_some(self, folder):
        return not self.words or any(w == folder or w.startswith(folder + "/") for w in self.words)

    def temp_folder(self):
        folder = tempfile.mkdtemp(prefix="hft-")
        os.chmod(folder, 0o755)
        if self.drop:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        return folder

    def add(self, name, passed, failed, seconds, complaint=None, output=""):
        self.passed += passed
        self.failed += failed
        verdict = "FAIL" if failed else "ok"
        print(f"{verdict:4} {name}: {passed} passed, {failed} failed ({seconds:.1f} s)"
              + (f": {complaint}" if complaint else ""), flush=True)
        if failed:
            lines = output.rstrip().split("\n")
            for line in lines[-SHOWN:]:
                # A suite's own totals must not look like ours.
                print(f"     | {line}")
            sys.stdout.flush()

    def environment(self, suite, tmp):
        env = dict(os.environ, HF_TMP=tmp, TMPDIR=tmp, HF_SOAK="1" if self.soak else "0",
                   HF_BIN=os.path.join(ROOT, "build", "holdfast"),
                   HF_MIGRATIONS=os.path.join(ROOT, "migrations"), CK_DEFAULT_TIMEOUT="60")
        env.update(suite.env or {})
        return env

    def run(self, suite):
        if not self.wants(suite.name):
            return
        tmp = self.temp_folder()
        begin = time.monotonic()
        complaint = None
        with tempfile.TemporaryFile(mode="w+", errors="replace") as out:
            process = subprocess.Popen(
                (self.drop if suite.as_user else []) + suite.command, cwd=ROOT, stdout=out,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                env=self.environment(suite, tmp))
            try:
                process.wait(suite.limit)
            except subprocess.TimeoutExpired:
                complaint = f"not done after {suite.limit} s"
            finally:
                if process.poll() is None:
                    end_group(process)
            stubborn = end_leftovers()
            out.seek(0)
            output = out.read()
        passed, failed, why = count(output, process.returncode)
        if stubborn:
            complaint = complaint or "left running: " + "; ".join(stubborn)
        if reports := sanitizer_reports(tmp):
            complaint = complaint or "a sanitizer complains"
            output += reports
        if complaint and not failed:
            failed = 1
        self.add(suite.name, passed, failed, time.monotonic() - begin, complaint or why, output)
        shutil.rmtree(tmp, ignore_errors=True)

    def make(self, name, *words, limit=1200):
        """Builds; a failure counts as one failed test. True when it worked."""
        begin = time.monotonic()
        done = subprocess.run(["make", "--no-print-directory", "-s", "-k", f"-j{os.cpu_count()}",
                               *words], cwd=ROOT, stdin=subprocess.DEVNULL, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=limit)
        if done.returncode != 0:
            self.add(name, 0, 1, time.monotonic() - begin, "does not build", done.stdout)
        return done.returncode == 0

    # ---- the suites ----

    def lint(self):
        self.run(Suite("lint", ["tests/lint/run"], 300))

    def unit(self, kind="unit", san=None):
        if not self.wants_some(kind):
            return
        build = f"build/{san}" if san else "build"
        self.make(f"{kind} build", "unit-programs", *([f"SAN={san}"] if san else []))
        env = sanitizer_options(None)
        suites = []
        for source in sorted(glob.glob(os.path.join(ROOT, "tests/unit/*/test_*.c"))):
            name = os.path.relpath(source, os.path.join(ROOT, "tests/unit"))[:-2]
            program = os.path.join(ROOT, build, "unit", name)
            if os.path.exists(program):  # else the build has failed, and has said so
                suites.append(Suite(f"{kind}/{name}", [program], 300, as_user=True, env=env))
        self.side_by_side(suites, UNIT_WORKERS)

    def side_by_side(self, suites, at_once):
        """Runs suites that spend much of their time waiting, a few at once. Each worker is a process,
        so that what a suite leaves behind becomes the child of the one that started it."""
        suites = [s for s in suites if self.wants(s.name)]
        queue, numbers = os.pipe()
        os.write(numbers, b"".join(i.to_bytes(2, "big") for i in range(len(suites))))
        os.close(numbers)
        workers = []
        sys.stdout.flush()
        for _ in range(min(at_once, len(suites))):
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                try:
                    self.work(suites, queue, writer)
                    os._exit(0)
                finally:  # whatever happens, a worker goes no further
                    os._exit(1)
            os.close(writer)
            workers.append((pid, reader))
        os.close(queue)
        for pid, reader in workers:
            with os.fdopen(reader) as totals:
                words = totals.read().split()
            _, status = os.waitpid(pid, 0)
            if status != 0 or len(words) != 2:
                self.add("a worker of the tests", 0, 1, 0, f"ended with status {status}")
                continue
            self.passed += int(words[0])
            self.failed += int(words[1])

    def work(self, suites, queue, writer):
        """In a worker: runs those whose numbers it draws, and tells how many tests passed and failed."""
        become_subreaper()
        self.passed = self.failed = 0
        while number := os.read(queue, 2):
            self.run(suites[int.from_bytes(number, "big")])
        with os.fdopen(writer, "w") as totals:
            totals.write(f"{self.passed} {self.failed}")

    def executables(self, folder, limit, kind=None, env=None, at_once=1):
        kind = kind or folder
        suites = []
        for path in sorted(glob.glob(os.path.join(ROOT, "tests", folder, "test_*"))):
            if os.access(path, os.X_OK) and not os.path.isdir(path):
                name = f"{kind}/{os.path.basename(path)}"
                suites.append(Suite(name, [path], limit * (12 if self.soak else 1), env=env))
        self.side_by_side(suites, at_once)

    def hub(self):
        return not any(map(self.wants_some, ("integ", "wire", "fault"))) or self.make("the hub", "all")

    def on_hub(self, env=None, suffix=""):
        self.executables("integ", 600, "integ" + suffix, env, INTEG_WORKERS)
        self.run(Suite("wire" + suffix, ["tests/wire/run"], 600, env=env))
        self.executables("fault", 600, "fault" + suffix, env)

    def fuzz(self):
        seconds = 600 if self.soak else 3
        self.run(Suite("fuzz", ["tests/fuzz/run", "--seconds", str(seconds)], 1200 + 20 * seconds))

    def sanitized_hub(self, san):
        """Builds a hub with a sanitizer. The environment that runs it, or None."""
        if not self.make(f"the hub with {san}", "all", f"SAN={san}"):
            return None
        stage = os.path.join(ROOT, "build", san)
        # The program looks for its migrations beside itself.
        shutil.copytree(os.path.join(ROOT, "migrations"), os.path.join(stage, "migrations"),
                        dirs_exist_ok=True)
        return dict(sanitizer_options("report"), HF_BIN=os.path.join(stage, "holdfast"),
                    HF_SANITIZER=san)

    def mutate(self):
        seconds = 1800 if self.soak else 20
        if self.wants("mutate") and (env := self.sanitized_hub("asan")):
            self.run(Suite("mutate", ["tests/fuzz/mutate", "--seconds", str(seconds)],
                           seconds + 300, env=env))

    def all(self):
        self.lint()
        self.unit()
        self.unit("unit-asan", "asan")
        if self.hub():
            self.on_hub()
        self.fuzz()
        self.mutate()

    def all_soak(self):
        if self.hub():
            self.on_hub()
        self.fuzz()
        self.mutate()

    def all_sanitized(self):
        """Everything under both sanitizers; a hub's reports are files in HF_TMP."""
        for san in ("asan", "tsan"):
            self.unit(f"unit-{san}", san)
            names = [f"{kind}-{san}" for kind in ("integ", "wire", "fault")]
            if any(map(self.wants_some, names)) and (env := self.sanitized_hub(san)):
                self.on_hub(env, f"-{san}")


def sanitizer_options(log):
    """Options that end a program at its first report; log: the name of report files in HF_TMP."""
    path = f":log_path={log}" if log else ""
    # The hub closes itself to ptrace, without which leaks cannot be looked for; unit tests can.
    leaks = ":detect_leaks=0" if log else ""
    return {"ASAN_OPTIONS": "abort_on_error=1:detect_stack_use_after_return=1" + path + leaks,
            "UBSAN_OPTIONS": "print_stacktrace=1" + path,
            "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1" + path}


def sanitizer_reports(tmp):
    text = ""
    for path in glob.glob(os.path.join(tmp, "**", "report.*"), recursive=True):
        with open(path, encoding="utf8", errors="replace") as f:
            text += f.read()
    return text


def become_subreaper():
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main():
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--soak", action="store_true", help="the long forms")
    parser.add_argument("--sanitize", action="store_true", help="under ASan+UBSan and under TSan")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="unit, unit/broker, integ, …")
    options = parser.parse_args()
    os.umask(0o022)
    # What a suite leaves behind becomes our child, so that we can find and end it.
    become_subreaper()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    runner = Runner(options)
    begin = time.monotonic()
    try:
        if options.sanitize:
            runner.all_sanitized()
        elif options.soak:
            runner.all_soak()
        else:
            runner.all()
    except (KeyboardInterrupt, SystemExit):
        end_leftovers()
        runner.failed += 1
        print("interrupted")
    if runner.passed + runner.failed == 0:
        print(f"no suite is called {' '.join(options.suites)}")
        runner.failed = 1
    print(f"in {time.monotonic() - begin:.0f} s")
    print(f"{runner.passed} passed, {runner.failed} failed", flush=True)
    return 1 if runner.failed else 0


if __name__ == "__main__":
    sys.exit(main())
