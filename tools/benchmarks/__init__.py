"""Speed, memory and accuracy, beside other ways to do the same."""
