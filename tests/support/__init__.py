"""What tests share: oracles, made-up tables, files and models, and the test run itself."""
