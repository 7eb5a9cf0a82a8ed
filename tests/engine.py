"""Whether there is a Docker engine to run the compose file with."""

import subprocess
from functools import cache

REASON = "no Docker engine with `docker compose` answers: start one to run tests/compose"


@cache
def answers() -> bool:
    try:
        return subprocess.run(("docker", "compose", "ls"), capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
