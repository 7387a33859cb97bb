"""`python -m netplumb` is the command `netplumb`."""

from netplumb.reconciler.main import main

main()
