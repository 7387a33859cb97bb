"""How many connections something that listens may hold. Each takes a descriptor of the daemon's, which may open so many
and no more; with a share for each there are some left for its own work, whoever connects."""

from __future__ import annotations

import resource


def share(parts: int, most: int) -> int:
    """One of so many parts of the descriptors that there are, and no more than `most`."""
    there, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if there == resource.RLIM_INFINITY else min(most, max(1, there // parts))
