"""`make run-cluster`: three nodes on an etcd of three members, told line by line."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

NETPLUMB = str(Path(sys.executable).with_name("netplumb"))
WITHIN_S = 170.0


@pytest.mark.timeout(200)
def test_all_that_the_story_of_a_cluster_claims_comes_true() -> None:
    """Joined, attached, reached by routes and by VXLAN, repaired, without a leader, without a node; and nothing of it
    stays behind."""
    with tempfile.TemporaryDirectory(prefix="np-") as temporary:
        done = subprocess.run(
            ["unshare", "--net", "--mount", "--", NETPLUMB, "sandbox", "--cluster"],
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": temporary},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for chapter in ("by routes", "A way is broken", "etcd loses its leader", "A node dies", "by VXLAN", "Leaving"):
            assert chapter in done.stdout
        assert done.stdout.count("ok  ping ") == 4 * 6 + 1
        assert done.stdout.count("ok  repaired") == 2
        assert "FAIL" not in done.stdout
        assert list(Path(temporary).iterdir()) == []
