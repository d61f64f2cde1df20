"""From finished runs to tables, figures and pages. Nothing here trains; `python -m bnn.report --help` says what it can do.

`rows` is the one record that everything stands on, and its CSV file; `configurations` groups rows over seeds, `histories`
their metrics by epoch; `table`, `against`, `figure`, `cost` and `curves` are pure functions of these. `experiment` reads a
store and lays it all out: as Markdown by `table`, as one HTML page by `sections`, `gallery` and `page`, in which every
string is text unless `markup` made it. `generated` holds the project's pages to the
files in sweeps/results, to conf/ and to the registries.
"""
