"""`netplumb trace`: follows one packet through the kernel, hop by hop, and says where it ends and why. Nothing is
changed, and no daemon is needed.

`ends` resolves the two ends named on the command line; `views` reads the routes, rules and sockets of one namespace.
`walk` goes from one namespace to the next, by `workloads` and `nodeway`, which share `course`; `filters` evaluates the
chains of a hook, and `hops` is what is printed. `live` sends a packet instead, and `run` puts all of it together.
"""
