"""Tests of `jobs.telemetry`."""
