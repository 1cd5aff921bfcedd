"""What is asked and shown above the screens; each is loaded when it is first opened."""
