"""etcd, as far as netplumb speaks it: ranges of keys read at one revision, transactions, leases, and watches. What the
keys mean is known to none of it."""
