"""Requests that are right: those whose answer is known, and others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.fuzz.call import Call, Outputs, binary_post, grpc_raw, grpc_typed, json_post
from benchmarks.fuzz.case import Case, Expected, Kinds, Random, World, pick

WRITERS = (binary_post, json_post, grpc_raw, grpc_typed)
LENGTHS = (1, 2, 63, 64, 65, 130)
OUTPUTS: tuple[Outputs, ...] = (
    (("waveform", {}),),
    (("pcm16", {}),),
    (("waveform", {}), ("pcm16", {})),
)


def good_cases(world: World) -> list[Case]:
    """Return the requests whose answers are taken before the fuzzing, in all ways of writing them."""
    calls = [
        Call.of(world.arrays(frames, np.random.default_rng(frames)), outputs=OUTPUTS[index % 3])
        for index, frames in enumerate(LENGTHS)
    ]
    cases = [Case(write(call), Expected.GOOD, call.frames) for call in calls for write in WRITERS]
    return [replace(case, good=index) for index, case in enumerate(cases)]


def _valid(random: Random, world: World) -> Case:
    frames = int(random.integers(1, world.longest + 1))
    call = Call.of(world.arrays(frames, random), outputs=pick(random, OUTPUTS))
    if random.random() < 0.3:
        call = replace(call, request_id=pick(random, ("a", "7", "x" * 1000, "a b/c", "")))
    return Case(pick(random, WRITERS)(call), Expected.VALID, frames)


def _tiny_values(random: Random, world: World) -> Case:
    """Subnormal numbers, and the smallest and -0, where any finite number near zero is a feature."""
    call = world.call(random)
    name, width = pick(random, (("mcep", 40), ("bap", 3)))
    tiny = np.array([1e-45, -1e-45, 1e-40, 1.1754942e-38, -0.0], np.float32)
    values = random.choice(tiny, (call.frames, width))
    return Case(pick(random, WRITERS)(call.with_tensor(name, data=values.tobytes())), Expected.EITHER, call.frames)


KINDS: Kinds = {"valid": (6, _valid), "subnormal": (2, _tiny_values)}
