"""Traffic to pods, as somebody on a host sees it."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from pathlib import Path

from tests.e2e.hosts import Host
from tests.runtimes import image

ANSWERED_WITHIN_S = 2.0
SERVED_WITHIN_S = 10.0
MEASURED_S = 3


def seen_as(host: Host, address: str, port: int = image.PORT) -> str:
    """The address that the web server in the image saw a client on the host come from. The server may still start."""
    ends = time.monotonic() + SERVED_WITHIN_S
    while True:
        try:
            return _ask(host, address, port)
        except OSError as error:
            if time.monotonic() > ends:
                raise AssertionError(f"nobody answers {host.name} at {address} port {port}: {error}") from None
            time.sleep(0.05)


def is_served(host: Host, address: str, port: int = image.PORT) -> bool:
    """Whether anybody answers a client on the host now."""
    try:
        _ask(host, address, port)
    except OSError:
        return False
    return True


def _ask(host: Host, address: str, port: int) -> str:
    with host.enter():
        connection = http.client.HTTPConnection(address, port, timeout=ANSWERED_WITHIN_S)
        try:
            connection.request("GET", image.WHO_ASKS)
            answer = connection.getresponse().read().decode()
        finally:
            connection.close()
    return answer.strip("[]").removeprefix("::ffff:")


def rate(server: Path, client: Path, address: str, *, reverse: bool = False) -> float:
    """Bits per second that arrive at the server from the client, or in reverse, over one TCP stream between two
    network namespaces."""
    inside = ("nsenter", f"--net={server}", "--", "iperf3")
    with subprocess.Popen([*inside, "-s", "-1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as listening:
        try:
            _until_listening(server)
            words = ["nsenter", f"--net={client}", "--", "iperf3", "-J", "-t", str(MEASURED_S), "-c", address]
            done = subprocess.run(
                [*words, *(["-R"] if reverse else [])], capture_output=True, text=True, timeout=30, check=False
            )
        finally:
            listening.kill()
    told = json.loads(done.stdout)
    assert "error" not in told, told["error"]
    return float(told["end"]["sum_received"]["bits_per_second"])


def _until_listening(namespace: Path) -> None:
    ends = time.monotonic() + SERVED_WITHIN_S
    words = ["nsenter", f"--net={namespace}", "--", "ss", "-Hltn", "sport = 5201"]
    while not subprocess.run(words, capture_output=True, timeout=SERVED_WITHIN_S, check=True).stdout:
        assert time.monotonic() < ends, "iperf3 does not listen"
        time.sleep(0.05)
