"""What is desired, durable. Wishes of all sources come in; records with their addresses go out, each written to the
store before it takes effect. Refusals are raised here: a key, an address or a port of another, an empty pool.
"""
