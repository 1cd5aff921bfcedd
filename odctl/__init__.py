"""OpenDebrid's command line. Holds the version only, so that `odctl --version` stays instant."""

__version__ = "0.1.0"
