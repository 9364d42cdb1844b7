"""The loop of a training run, and the steps that each library takes in it."""
