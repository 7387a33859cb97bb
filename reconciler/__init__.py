"""How it comes true: sources write desired state, one loop renders, plans and applies it to the kernel."""
