"""The dashboard: what `odctl top` shows. The only package that knows Textual."""
