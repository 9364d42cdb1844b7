"""Read labels that people gave to reviews, from a column, a sheet or a table of labelled reviews."""
