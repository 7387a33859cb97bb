"""Programs talk to the daemon here. What they say and hear are the messages of `netplumb.v1`; a call that fails raises
one of `errors`. `asynchronous` speaks to the socket, `synchronous` is the same for code without an event loop.
"""
