"""A machine of its own on the network: a namespace with one cable to this one. Needs root, iproute2, iptables."""

import os
import subprocess
from pathlib import Path
from typing import Literal

# Which way is cut, as the machine in the namespace sees it.
Direction = Literal["both", "out", "in"]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"


class Machine:
    """Named ``<prefix>-<number>``; it reaches this machine at `gateway` and is reached at `address`."""

    def __init__(self, number: int) -> None:
        pid = os.getpid()
        self.name = f"lf{pid % 100_000}-{number}"
        self._cable = f"lf{pid % 100_000}v{number}"
        # 198.18.0.0/15 is for tests of networks: nobody's real one (RFC 2544)
        net = f"198.{18 + pid // 250 % 2}.{pid % 250}"
        self.gateway = f"{net}.{4 * number + 1}"
        self.address = f"{net}.{4 * number + 2}"

    def create(self) -> None:
        _run("ip", "netns", "add", self.name)
        _run(
            "ip",
            "link",
            "add",
            self._cable,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.name,
        )
        _run("ip", "address", "add", f"{self.gateway}/30", "dev", self._cable)
        _run("ip", "link", "set", self._cable, "up")
        self._inside("ip", "address", "add", f"{self.address}/30", "dev", "eth0")
        self._inside("ip", "link", "set", "eth0", "up")
        self._inside("ip", "link", "set", "lo", "up")
        self._inside("ip", "route", "add", "default", "via", self.gateway)

    def remove(self) -> None:
        """With everything that lies in it; processes inside keep what is left."""
        subprocess.run(["ip", "link", "delete", self._cable], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)

    def prefix(self) -> list[str]:
        """Words before a command that is to run there; the process keeps its pid."""
        return ["nsenter", f"--net={Path('/run/netns') / self.name}"]

    def _inside(self, *command: str) -> None:
        _run(*self.prefix(), *command)

    def cut(self, direction: Direction = "both") -> None:
        """Drop what passes the cable; nobody is told."""
        if direction in {"both", "out"}:
            self._inside("iptables", "--wait", "--append", "OUTPUT", "-o", "eth0", "-j", "DROP")
        if direction in {"both", "in"}:
            self._inside("iptables", "--wait", "--append", "INPUT", "-i", "eth0", "-j", "DROP")

    def mend(self) -> None:
        for chain in ("INPUT", "OUTPUT"):
            self._inside("iptables", "--wait", "--flush", chain)
