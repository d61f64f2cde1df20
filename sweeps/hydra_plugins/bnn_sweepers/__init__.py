"""Hydra sweepers of this project. Hydra imports every module here at every start: keep them light."""
