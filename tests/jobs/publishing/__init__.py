"""Tests of `jobs.publishing`."""
