"""Generate sample reviews, and print the results of the demo."""
