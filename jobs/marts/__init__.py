"""From scores to the tables of dashboards."""
