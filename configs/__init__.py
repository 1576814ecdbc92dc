"""Training recipes as YAML; see docs/training.md."""
