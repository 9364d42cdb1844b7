"""The files of this machine and of Hadoop, behind one protocol."""
