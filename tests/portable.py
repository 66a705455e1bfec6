"""`make test-portable`: tests of trained values under imitated processors, thread counts and seeds, each with its margin.

Trained values differ in their last digits between processor types, and training amplifies the difference. A bound is safe if its
margin is wide compared with the spread over settings. Environment variables make the libraries use the code of older processors.
The instructions in use are printed beside each setting: a processor cannot imitate instructions it lacks, nor another maker's code.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROBE = """
import torch
print("aten", torch.backends.cpu.get_cpu_capability())
torch.nn.functional.conv2d(torch.ones(4, 32, 64, 64), torch.ones(32, 32, 3, 3))
"""


@dataclass(frozen=True)
class Setting:
    """One way to compute, by environment variables."""

    name: str
    variables: Mapping[str, str]


SETTINGS = (
    Setting("as it is", {}),
    Setting("oneDNN SSE4.1", {"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    Setting("oneDNN AVX2", {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    Setting("ATen default", {"ATEN_CPU_CAPABILITY": "default"}),
    Setting("ATen AVX2", {"ATEN_CPU_CAPABILITY": "avx2"}),
    Setting("ATen default, oneDNN SSE4.1", {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}),
    Setting("ATen AVX2, oneDNN AVX2, MKL AVX2", {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}),
    Setting("two threads", {"STUDY_TEST_THREADS": "2"}),
    Setting("seed 1", {"STUDY_TEST_SEED": "1"}),
    Setting("seed 2", {"STUDY_TEST_SEED": "2"}),
)


def main() -> int:
    """Run every setting and print the margins; 1 where a test failed."""
    failed, records = [], dict[tuple[str, float, float], dict[str, float]]()
    for setting in SETTINGS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            margins = Path(scratch, "margins")
            environment = {**os.environ, **setting.variables, "STUDY_TEST_MARGINS": str(margins)}
            print(f"{setting.name}: {_in_use(environment)}", flush=True)
            threads = setting.variables.get("STUDY_TEST_THREADS")
            command = [sys.executable, "-m", "pytest", "-m", "trained and not wheel", "-n", "1" if threads else "2"]
            run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            print(f"    {run.stdout.strip().splitlines()[-1]} ({time.monotonic() - started:.0f} s)", flush=True)
            if run.returncode:
                failed.append(setting.name)
                print("".join(f"    {line}\n" for line in run.stdout.splitlines() if line.startswith(("FAILED", "E  "))))
            for number, line in enumerate(margins.read_text().splitlines() if margins.exists() else ()):
                record = json.loads(line)
                key = (record["test"], record["above"], record["below"])
                records.setdefault(key, {})[f"{setting.name} {number}"] = record["value"]
    print("\ntest: bound, smallest and largest value, spread, margin / spread")
    for (test, above, below), values in sorted(records.items()):
        low, high = min(values.values()), max(values.values())
        spread, margin = high - low, min(low - above, below - high)
        ratio = f"{margin / spread:.1f}" if spread else "no spread"
        bound = " and ".join(f"{sign} {value:g}" for sign, value in ((">", above), ("<", below)) if abs(value) != float("inf"))
        print(f"{test}: {bound}, {low:.4g} to {high:.4g}, {spread:.2g}, {ratio}")
    print(f"\nfailed under: {', '.join(failed) or 'no setting'}")
    return 1 if failed else 0


def _in_use(environment: Mapping[str, str]) -> str:
    """The instructions that ATen and oneDNN report under a setting."""
    variables = {**environment, "ONEDNN_VERBOSE": "all"}
    run = subprocess.run([sys.executable, "-c", PROBE], env=variables, capture_output=True, text=True, check=False)
    lines = run.stdout.splitlines()
    aten = next((line.removeprefix("aten ") for line in lines if line.startswith("aten ")), "unknown")
    onednn = next((line.partition("isa:")[2] for line in lines if "cpu,isa:" in line), "unknown")
    return f"ATen {aten}, oneDNN {onednn}, {environment.get('STUDY_TEST_THREADS', '1')} thread"


if __name__ == "__main__":
    sys.exit(main())
