"""Run the verbs of the command, one module a verb, named as the verb."""
