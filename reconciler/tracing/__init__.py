"""`netplumb trace`: follows one packet the way that the kernel takes it, says hop by hop what becomes of it, and where
it ends and why. Nothing is changed, and no daemon is needed.

`ends` says whom two words on the command line mean, `views` is what one namespace answers of routes, rules and sockets.
`walk` goes from one to the next, by `workloads` and `nodeway`; `course` is what both have in common, `filters` judges
the chains of a hook, and `hops` is what is told. `live` sends a packet instead, and `run` puts all together.
"""
