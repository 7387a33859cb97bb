"""`python -m tests.fuzz TARGET [OPTION …] [CORPUS …]`: one target under atheris, with libFuzzer's options.

A file as CORPUS is run once, which shows a failure again. Half of the new inputs are made by libFuzzer, half by
`mutations`, which keeps messages well-formed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["models", "api", "reconciler", "ruamel"]):
    from tests.fuzz.mutations import mutated
    from tests.fuzz.targets import TARGETS, framed, parts

PART_MAX_BYTES = 0xFFFF


def _mutate(data: bytes, max_size: int, seed: int) -> bytes:
    random = Random(seed)
    history = list(parts(data))
    if not history or random.random() < 0.5:
        return bytes(atheris.Mutate(data, max_size))
    match random.randrange(8):
        case 0:
            random.shuffle(history)
        case 1:
            history += random.choices(history, k=random.randrange(1, 4))
        case 2 if len(history) > 1:
            del history[random.randrange(len(history))]
        case _:
            (position,) = random.choices(range(len(history)), [len(part) for part in history])
            history[position] = history[position][:1] + mutated(random, history[position][1:])[:PART_MAX_BYTES]
    return framed(history)[:max_size]


def main() -> None:
    name, *options = sys.argv[1:]
    command = [f"{Path(__file__).parent}/{name}", *options]
    if name == "statefile":
        atheris.Setup(command, TARGETS[name])
    else:
        atheris.Setup(command, TARGETS[name], custom_mutator=_mutate)
    atheris.Fuzz()


main()
