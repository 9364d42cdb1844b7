"""Tests of `jobs.dashboard`."""
