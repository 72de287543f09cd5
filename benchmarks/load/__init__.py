"""Shared code of the serving benchmarks: processes, the load tool and photos."""
