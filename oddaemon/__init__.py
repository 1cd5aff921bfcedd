"""OpenDebrid's daemon. Holds the version only, so that importing any submodule stays cheap."""

__version__ = "0.1.0"
