"""Traffic to pods, as somebody on a host sees it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.e2e.hosts import Host
from tests.runtimes import image

ANSWERED_WITHIN_S = 2
MEASURED_S = 3
_LISTENS_WITHIN_S = 10.0


def seen_as(host: Host, address: str, port: int = image.PORT) -> str:
    """The address that a web server saw us come from; empty where none answered."""
    where = f"[{address}]" if ":" in address else address
    answer = host.run(
        f"busybox wget -q -T {ANSWERED_WITHIN_S} -O - http://{where}:{port}{image.WHO_ASKS}", ok=False
    ).strip()
    if answer.startswith("wget:"):
        return ""
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
    ends = time.monotonic() + _LISTENS_WITHIN_S
    words = ["nsenter", f"--net={namespace}", "--", "ss", "-Hltn", "sport = 5201"]
    while not subprocess.run(words, capture_output=True, timeout=_LISTENS_WITHIN_S, check=True).stdout:
        assert time.monotonic() < ends, "iperf3 does not listen"
        time.sleep(0.05)
