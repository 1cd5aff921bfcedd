"""Many nodes on hosts of their own."""
