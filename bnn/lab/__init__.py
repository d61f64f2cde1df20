"""Measuring estimators: the objects that train, held against the truth."""
