"""`netplumb doctor`: reads the node once and reports what breaks workloads' network, or will. It changes nothing.

It works without the daemon, which may be what is down: desired state comes from the store's file, the rest from the
kernel, /proc and the files of other tools. The daemon is asked, last, only for what it alone knows, such as who undoes
its repairs; if it does not answer, that is a finding.

`reading` is the edge, `facts` what was read, and `checks` judge them, each a pure function.
"""
