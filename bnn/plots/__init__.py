"""Figures of runs (`runs`) and of the layers of networks (`layers`), in one style (`style`).

No function touches a file.
"""
