"""What is wanted, durable. Wishes of all sources come in; records with their addresses go out, each written to the
store before anybody hears of it. Refusals are raised here: a key, an address or a port of another, an empty pool.
"""
