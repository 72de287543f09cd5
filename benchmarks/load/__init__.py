"""Shared code of the serving benchmarks: servers, clients, photos and result tables."""
