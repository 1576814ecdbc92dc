"""Predictions + ground truth -> numbers, tables, figures. Never imports torch."""
