"""What a server's processes use of the machine."""

from __future__ import annotations

import os
import subprocess
import sys

from sifigan_triton.measure.machine import ProcessGroup


def test_usage_of_a_process_group() -> None:
    code = (
        "import time; x = bytearray(60 << 20); end = time.process_time() + 0.1\nwhile time.process_time() < end: pass\n"
    )
    code += "print('done', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        group = ProcessGroup(process.pid)
        assert process.stdout is not None
        process.stdout.readline()
        assert group.cpu_s() > 0.05
        assert 60 << 20 < group.memory_bytes() < 120 << 20
        process.communicate(b"\n")
    assert (group.cpu_s(), group.memory_bytes()) == (0.0, 0)
    assert ProcessGroup(os.getpgrp()).cpu_s() > 0.0
