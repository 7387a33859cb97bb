"""How it comes true. Wishes come in by `sources`, are kept in `desired`, and `loop` converges the kernel to them.

The rooms, from the top: `main` and `daemon` wire them together; `sources`, `loop`, `watch`, `status`, `converge`,
`desired`, `decide`, `kernel`, `pacing` and `settings` each import only from those below, and `sandbox` plays with all.
"""
