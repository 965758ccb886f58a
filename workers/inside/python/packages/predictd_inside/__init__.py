"""The code that serves a model in the model's own interpreter: any CPython from 3.8 on."""
