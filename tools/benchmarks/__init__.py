"""Measure speed, memory and accuracy, beside other ways to score reviews."""
