"""Hydra sweepers. Hydra imports these modules at every start, so they import nothing heavy."""
