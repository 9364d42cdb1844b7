"""What the test run itself needs: its order over the workers, and what it shows while it runs."""
