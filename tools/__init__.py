"""What is built and measured beside the product itself."""
