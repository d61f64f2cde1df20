"""The report of an experiment as one HTML page that needs nothing from elsewhere.

`page` is its frame, `sections` and `gallery` are its parts, `markup` makes their elements: every
other string is text. `epoch_figures` and `panels` draw metrics by epoch, `heatmaps` and `snapshots`
compute what layers do on fixed images.
"""
