"""What serves a model from within a model's own interpreter: any CPython from 3.8 on."""
