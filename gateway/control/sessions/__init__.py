"""Sessions: a function that is tried, or a shell, in the environment and confinement of builds."""
