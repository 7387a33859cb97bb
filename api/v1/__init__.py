"""Version 1 of the contract: `netplumb.proto` and the stubs that `make proto` generates from it."""
