"""Our own nftables tables: objects become transactions, and what the kernel holds of them, counts or traces comes out.
libnftables writes; what it cannot say is said in messages of nf_tables.
"""
