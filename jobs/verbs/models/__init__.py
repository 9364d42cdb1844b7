"""Run the verbs that train, label for, calibrate or measure a model."""
