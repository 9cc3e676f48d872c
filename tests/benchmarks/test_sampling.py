"""The sampler runs a module as it would run by itself and says where its CPU time went."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

BUSY = """
import sys, time

def burn():
    until = time.process_time() + 0.3
    while time.process_time() < until:
        sum(range(1000))

burn()
raise SystemExit(int(sys.argv[1]))
"""


class TestSampling:
    def test_a_busy_function_is_named_and_the_exit_code_is_kept(self, tmp_path):
        (tmp_path / "busy.py").write_text(BUSY)
        profile = tmp_path / "profile.txt"
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.sampling", str(profile), "busy", "3"],
            env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (3, "")
        assert "busy.py burn" in profile.read_text()
