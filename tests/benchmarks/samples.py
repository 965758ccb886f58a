"""What tests of the benchmarks make their findings from."""

from benchmarks.load.closed import Capacity


def capacity(rate: float) -> Capacity:
    return Capacity(
        requests_per_second=rate,
        requests=int(rate),
        failed=0,
        p50_us=1e6 / rate,
        p90_us=0,
        p99_us=0,
        p999_us=0,
        max_us=0,
        generator_cpu=0.1,
    )
