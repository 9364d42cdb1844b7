"""Run the loop of a training run, with one step module for each library."""
