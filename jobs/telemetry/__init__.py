"""Write the log of a job, without secrets and without review texts."""
