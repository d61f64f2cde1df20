"""From finished runs to tables and figures. Nothing here trains; `python -m bnn.report --help` says what it can do.

`rows` is the one record that everything stands on, and its CSV file; `configurations` groups rows over seeds; `table` and
`figure` are pure functions of rows; `readme` holds the README to the CSV files in sweeps/results.
"""
