"""Reach files of this machine and of Hadoop through one protocol."""
