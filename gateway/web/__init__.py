"""The pages for users: signing in, their models, their keys."""
