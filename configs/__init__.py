"""Training recipes as YAML; see docs/train.md."""
