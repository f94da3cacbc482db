"""tools/foreign_tests: test files of other projects with the tensors that they make sharded."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from oracle.foreign_options import parser  # noqa: E402

ROOT = HERE.parents[1]


def read(told: Path) -> list[dict]:
    return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


def start(options: Namespace, file: Path, told: Path, log: Path, **environment: str) -> subprocess.Popen:
    path = [str(HERE), str(ROOT / "torch_ops"), str(file.parent), *sys.path[1:]]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "foreign_plugin"]
    for plugin in options.plugin:
        command += ["-p", plugin]
    command += ["-c", os.devnull, "--rootdir", str(file.parent), "-k", options.names, str(file)]
    environment |= {
        "PYTHONPATH": ":".join(path),
        "PYTORCH_TESTING_DEVICE_ONLY_FOR": "cpu",
        "WEFT_FOREIGN_OUT": str(told),
        "WEFT_FOREIGN_SEED": str(options.seed),
    }
    with log.open("a") as output:
        return subprocess.Popen(
            command, cwd=file.parent, env=os.environ | environment, stdout=output, stderr=output, start_new_session=True
        )


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def end(processes: list[subprocess.Popen]) -> None:
    for p in processes:
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGKILL)
        p.wait()


def pass_plain(options: Namespace, file: Path, out: Path) -> list[str]:
    told = out / "plain.jsonl"
    process = start(options, file, told, out / "plain.log")
    try:
        process.wait()
    finally:
        end([process])
    return [row["test"] for row in read(told) if row.get("outcome") == "passed"]


def run_ranks(options: Namespace, file: Path, out: Path, tests: list[str]) -> None:
    """Until they end, or nothing is told for as long as a test may take."""
    told, chosen = out / "sharded.jsonl", out / "chosen"
    chosen.write_text("\n".join(tests))
    world = {"WORLD_SIZE": str(options.ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    world["WEFT_FOREIGN_TESTS"] = str(chosen)
    ranks = [
        start(options, file, told, out / f"rank{r}.log", RANK=str(r), LOCAL_RANK=str(r), **world)
        for r in range(options.ranks)
    ]
    size, since = -1, time.monotonic()
    try:
        while any(p.poll() is None for p in ranks):
            time.sleep(0.3)
            now = told.stat().st_size if told.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
            if time.monotonic() - since > options.timeout:
                break
    finally:
        end(ranks)


def run_sharded(options: Namespace, file: Path, out: Path, tests: list[str]) -> dict[str, dict]:
    """What became of each test."""
    told = out / "sharded.jsonl"
    while True:
        rows = read(told)
        done = {row["test"]: row for row in rows if "test" in row}
        begun = [row["begins"] for row in rows if "begins" in row]
        if begun and begun[-1] not in done:
            done[begun[-1]] = {"test": begun[-1], "outcome": "died", "error": "its ranks hang or died"}
            with told.open("a") as file_:
                file_.write(json.dumps(done[begun[-1]]) + "\n")
        left = [test for test in tests if test not in done]
        if not left:
            return done
        print(f"\r{file.name}: {len(done)} of {len(tests)} ", end="", file=sys.stderr, flush=True)
        before = told.stat().st_size if told.exists() else 0
        run_ranks(options, file, out, left)
        if not told.exists() or told.stat().st_size == before:
            sys.exit(f"tools/foreign_tests: no test of {file} began; see {out}/rank0.log")


def run_file(options: Namespace, file: Path) -> tuple[str, bool]:
    """A line of the table, and whether all is well."""
    out = (options.out / file.parent.name / file.stem).resolve()
    out.mkdir(parents=True, exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    tests = pass_plain(options, file, out)
    if not tests:
        sys.exit(f"tools/foreign_tests: no test of {file} passes plain; see {out}/plain.log")
    done = run_sharded(options, file, out, tests)
    refused: Counter[str] = Counter()
    rest = []
    for test in tests:
        if done[test]["outcome"] in ("passed", "skipped"):
            continue
        code = re.search(r"\[(W06[0145])\]", done[test]["error"])  # memory, other shapes, other kinds, views
        if code and done[test]["outcome"] == "failed":
            refused[code[1]] += 1
        else:
            rest.append(f"{test}\n    {done[test]['outcome']}: {' '.join(done[test]['error'].split())[:300]}")
    (out / "rest.txt").write_text("\n".join(rest) + "\n")
    same = len(tests) - refused.total() - len(rest)
    codes = ", ".join(f"{n} {code}" for code, n in sorted(refused.items())) or "-"
    print("\r\033[K", end="", file=sys.stderr)
    where = f" ({out}/rest.txt)" if rest else ""
    print(f"{file.name}: {same} of {len(tests)} pass sharded, refused: {codes}, left: {len(rest)}{where}", flush=True)
    return f"| {file.parent.name}/{file.name} | {len(tests)} | {same} | {codes} | {len(rest)} |", not rest


def main() -> None:
    options = parser().parse_args()
    for file in options.files:
        if not file.is_file():
            sys.exit(f"tools/foreign_tests: there is no {file}")
    lines = [run_file(options, file.resolve()) for file in options.files]
    if options.table is not None:
        head = ["| file | pass plain | pass sharded | refused | left |", "| --- | --- | --- | --- | --- |"]
        options.table.write_text("\n".join([*head, *(line for line, _ in lines)]) + "\n")
    sys.exit(0 if all(well for _, well in lines) else 1)


if __name__ == "__main__":
    main()
