"""The screens of the dashboard, one module each; loaded when they are first shown."""
