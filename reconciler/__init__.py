"""How it comes true. Wishes come in by `sources`, are kept in `desired`, and `loop` converges the kernel to them.

The rooms, each of which imports only from those below, stand in CONTRIBUTING.md, and their order in the layer contract
of pyproject.toml.
"""
