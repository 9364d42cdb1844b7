"""One module a verb of the command, named as the verb."""
