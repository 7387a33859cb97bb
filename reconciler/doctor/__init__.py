"""`netplumb doctor`: reads the node once and tells what hurts workloads' network, or will. It changes nothing.

It needs no daemon and asks none for what the kernel can tell, since the daemon may be what is down: desired state comes
from the store's file, the rest from the kernel, /proc and the files of other tools. What only a running daemon knows,
such as who undoes its repairs, it is asked for last, and its silence is a finding.

`reading` is the edge, `facts` what was read, and `checks` judge them, each a pure function.
"""
