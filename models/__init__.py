"""The vocabulary: models that every layer shares. No I/O, no asyncio, no netlink."""
