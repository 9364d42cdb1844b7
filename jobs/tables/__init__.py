"""What tables look like, and how Spark reads them."""
