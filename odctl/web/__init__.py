"""The dashboard in a browser of this machine: a server on loopback, and one dashboard for each tab."""
