"""Where the settings say no cluster, nothing of it is loaded."""

from __future__ import annotations

import subprocess
import sys


def test_a_daemon_without_a_cluster_loads_nothing_of_it() -> None:
    program = (
        "import sys; import netplumb.reconciler.daemon; from netplumb.reconciler import optional; "
        "from netplumb.models.settings import Settings; assert optional.cluster(Settings(), 'boot') is None; "
        "assert optional.ways(Settings(), None, None) is None; "
        "assert optional.leaving(Settings()) is None; "
        "print([name for name in sys.modules if name.startswith('netplumb.reconciler.cluster') or '.way' in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
