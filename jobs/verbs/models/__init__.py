"""The verbs that make, teach, correct or measure a model, named as the verb."""
