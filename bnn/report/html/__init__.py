"""HTML page of an experiment: markup, sections, figures by epoch and heatmaps."""
