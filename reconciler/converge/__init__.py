"""One pass over one attachment: observe what the kernel holds, render what should be there, plan the difference,
apply it. A record and the node's facts come in; an Outcome goes out: what was done, what failed, and hints of where
the links are. `linux` is the operating system as all passes see it, so that tests can put another in its place.
"""
