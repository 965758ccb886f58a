"""What can be told of a project before an environment is made for it."""
