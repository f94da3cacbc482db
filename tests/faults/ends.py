"""Runs programs of end_programs.py on four ranks to their ends: python ends.py ROUNDS PROGRAM...

Each rank is a fork of this process, which has imported everything already: an end then costs a second or two, and not
the ten that four imports of torch take. Prints a JSON list of [program, rank, exit code, seconds until Python
finalizes, seconds until the process is gone, output], both from the rank's last statement on.

Under torchrun, `ends.py PROGRAM` is one rank.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import time

import end_programs as p

PR_SET_PDEATHSIG = 1  # no rank outlives what started it


def wait_for(pids):
    """The status and the time of each end."""
    ended, deadline = {}, time.monotonic() + p.LIMIT
    while len(ended) < len(pids):
        for pid in pids - ended.keys():
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            found, status = os.waitpid(pid, os.WNOHANG if time.monotonic() < deadline else 0)
            if found:
                ended[pid] = os.waitstatus_to_exitcode(status), time.monotonic()
        time.sleep(0.002)
    return ended


def run_round(name):
    """Starts the ranks. Returns what came of each; in a rank, nothing."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(p.RANKS))
    reading, p.times = os.pipe()
    outputs, pids = [tempfile.TemporaryFile() for _ in range(p.RANKS)], {}
    for rank, output in enumerate(outputs):
        pid = os.fork()
        if pid == 0:
            os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(rank)
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            return None
        pids[pid] = rank
    ended = wait_for(pids.keys())
    os.close(p.times)
    p.times = None
    with os.fdopen(reading) as lines:
        told = {(int(pid), what): float(at) for pid, what, at in map(str.split, lines)}
    results = []
    for pid, rank in pids.items():
        code, at = ended[pid]
        outputs[rank].seek(0)
        text = outputs[rank].read().decode(errors="replace")
        outputs[rank].close()
        began = told.get((pid, "ends"), 0)
        results.append([name, rank, code, told.get((pid, "finalizes"), began) - began, at - began, text])
    return results


def main():
    if "RANK" in os.environ:  # under torchrun
        return p.PROGRAMS[sys.argv[1]]
    results = []
    for name in sys.argv[2:] * int(sys.argv[1]):
        found = run_round(name)
        if found is None:
            return p.PROGRAMS[name]
        results += found
    print(json.dumps(results))
    return None


if __name__ == "__main__" and (run := main()):
    p.LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    run()
    p.tell_time("ends")
