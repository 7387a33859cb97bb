"""netplumb as a CNI plugin, for every runtime that speaks the Container Network Interface, versions 0.3.1 to 1.1.0.

A runtime starts `plugin`, which hands its environment and its input to the daemon and prints the answer. All that the
specification asks is done here, in the daemon: `server` takes the call from the socket (`wire`), `request` reads what
the runtime said, `wishes` makes it a wish of ours, `service` carries it out and `result` words the answer.
"""
