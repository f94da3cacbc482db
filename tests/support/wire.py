"""Two networks of one machine, joined by a cable that delays packets, loses them, and can be cut.

    with Wire() as wire:
        wire.inside(1)                        the command that runs a program in the second network: put it before it
        wire.delay, wire.loss = 0.02, (1, 0)  seconds each way; the share of packets from 0, and from 1, that is lost
        wire.plug(0, False)                   the first network's device is down

Each network is a namespace with one device, DEVICE, and one address. A thread carries the packets between the two:
the kernel's own netem is not in every kernel. Needs root, iproute2 and /dev/net/tun; `missing()` says what is not
there.
"""

import fcntl
import heapq
import itertools
import os
import random
import re
import select
import shutil
import struct
import subprocess
import threading
import time
from typing import Any

DEVICE = "cable"
ADDRESSES = ("10.213.0.1", "10.213.0.2")
TUN = "/dev/net/tun"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x1, 0x1000
LARGEST = 65536  # bytes of a packet

_numbers = itertools.count()


def missing() -> str:
    """Why there can be no Wire here; empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no command ip (Debian's iproute2)"
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"there is no {TUN}"
    try:
        with Wire():
            return ""
    except (OSError, subprocess.CalledProcessError) as e:
        return f"no network namespaces: {getattr(e, 'stderr', None) or e}"


class Wire:
    def __init__(self, seed: int = 0) -> None:
        self.delay = 0.0
        self.loss = (0.0, 0.0)
        self.carried = [0, 0]  # packets that came from each
        self.lost = [0, 0]
        self._random = random.Random(seed)
        name = f"weft{os.getpid()}-{next(_numbers)}"
        self._spaces = [f"{name}{side}" for side in "ab"]
        self._devices: list[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="wire", daemon=True)

    def inside(self, side: int) -> list[str]:
        return ["ip", "netns", "exec", self._spaces[side]]

    def plug(self, side: int, up: bool) -> None:
        _ip("-n", self._spaces[side], "link", "set", DEVICE, "up" if up else "down")

    def __enter__(self) -> "Wire":
        _remove_left_behind()
        try:
            for space, address in zip(self._spaces, ADDRESSES, strict=True):
                _ip("netns", "add", space)
                self._devices.append(_make_device(space))
                _ip("-n", space, "address", "add", f"{address}/30", "dev", DEVICE)
                for device in ("lo", DEVICE):
                    _ip("-n", space, "link", "set", device, "up")
            self._thread.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._remove()

    def _remove(self) -> None:
        for fd in self._devices:
            os.close(fd)
        for space in self._spaces:
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)  # it may not have been made

    def _carry(self) -> None:
        on_the_way: list[tuple[float, int, int, bytes]] = []  # with a number, so that packets stay in order
        numbers = itertools.count()
        while not self._end.is_set():
            left = on_the_way[0][0] - time.monotonic() if on_the_way else 0.1
            for fd in select.select(self._devices, [], [], max(0.0, min(left, 0.1)))[0]:
                side = self._devices.index(fd)
                packet = _quietly(os.read, fd, LARGEST)
                if packet is None:
                    continue
                self.carried[side] += 1
                if self._random.random() < self.loss[side]:
                    self.lost[side] += 1
                else:
                    heapq.heappush(on_the_way, (time.monotonic() + self.delay, next(numbers), 1 - side, packet))
            while on_the_way and on_the_way[0][0] <= time.monotonic():
                _, _, side, packet = heapq.heappop(on_the_way)
                _quietly(os.write, self._devices[side], packet)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _remove_left_behind() -> None:
    """Removes what a process that was killed left behind."""
    spaces = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    for space, pid in re.findall(r"^(weft(\d+)-\d+[ab])\b", spaces, re.MULTILINE):
        if not os.path.exists(f"/proc/{pid}"):
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)  # another may be at it too


def _make_device(space: str) -> int:
    """It takes packets and gives them as long as the file is open."""
    fd = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        made = fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"weft%d", IFF_TUN | IFF_NO_PI))
        name = made[:16].rstrip(b"\0").decode()
        _ip("link", "set", name, "netns", space, "name", DEVICE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _quietly(call: Any, *arguments: Any) -> Any:
    """None where the device is down, or full."""
    try:
        return call(*arguments)
    except OSError:
        return None
