"""`python -m benchmarks VERB`: runs one benchmark and prints what it measured."""

import argparse
import json
import sys

from benchmarks import bench_predict
from benchmarks.rig import machine

VERBS = {"predict": bench_predict.run}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--quick", action="store_true", help="a second a point instead of five")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    facts = machine()
    rows = VERBS[arguments.verb](seconds=1.0 if arguments.quick else 5.0)
    if arguments.json:
        print(json.dumps({"machine": facts, "rows": rows}, indent=1))
        return 0
    print("Generator, gateway and replica share the cores: compare ratios of one run, not runs.")
    print(", ".join(f"{name}: {value}" for name, value in facts.items()))
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(f"Again: {sys.executable} -m benchmarks {arguments.verb}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
