"""The session, what Java and Spark need of this machine, and their errors in sentences."""
