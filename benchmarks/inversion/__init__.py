"""What each lever of inverting real images buys; see `benchmarks.inversion.__main__`."""
