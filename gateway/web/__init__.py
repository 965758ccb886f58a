"""The pages that people see: signing in, their models, their keys."""
