"""A child process, with the processes that it starts, that never outlives this one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

# Waits for a line from the parent. The end of the pipe without one means that the parent has died: the group is ended
# and what it left is removed. Unlike PR_SET_PDEATHSIG this depends on the parent process, not on one of its threads.
_WATCHDOG = """
read -r line && exit 0
group=$1; folder=$2; prefix=$3
kill -s TERM -- "-$group"
for _ in 1 2 3 4 5 6 7 8; do kill -s 0 -- "-$group" || break; sleep 1; done
kill -s KILL -- "-$group"
rm -rf -- "$folder"; rm -f -- /dev/shm/"$prefix"*
"""


class GuardedProcess:
    """A process in a session of its own, so that a terminal's Ctrl-C reaches only its owner, with a watchdog."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path, shm_prefix: str
    ) -> None:
        """Start the process.

        Args:
            command: program and arguments.
            environment: all of its environment variables.
            log: the file that takes its output, the last one becomes `<name>.1`.
            folder: its private folder, which the watchdog removes if this process dies; `stop` leaves it to the owner.
            shm_prefix: how the names of its shared memory regions begin; what is left of them is removed at the end.

        """
        self._shm_prefix = shm_prefix
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.is_file():
            log.replace(log.with_name(f"{log.name}.1"))  # its end may tell why there has to be another start
        with log.open("ab") as output:  # appends, so that a log may be shortened while it is written
            self._process = subprocess.Popen(
                command,
                cwd=folder,  # Python models look for modules in the working directory first
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self._watchdog = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHDOG, "sh", str(self.pid), str(folder), shm_prefix],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:  # such as too many processes: nothing unguarded stays
            self._end_group()
            raise

    @property
    def pid(self) -> int:
        """Its process id, which is its group's as well."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """Its exit status, None while it runs; negative after a signal."""
        return self._process.poll()

    def stop(self, timeout_s: float) -> None:
        """End the process and all that it started: SIGTERM, and after `timeout_s` seconds SIGKILL; 0: at once."""
        if self.exit_status is None and timeout_s > 0:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                logger.warning("process %d did not end within %g s of SIGTERM: killing it", self.pid, timeout_s)
        self._end_group()
        self._watchdog.communicate(b"done\n")

    def _end_group(self) -> None:
        """Kill what is left of the process and all that it started, and remove what it left in shared memory."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nothing is left of the group
        self._process.wait()
        for region in Path("/dev/shm").glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)
