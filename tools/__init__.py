"""Build and measure the product: benchmarks, packages, the bundled model."""
