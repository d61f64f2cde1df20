"""Tables, figures and pages of finished runs; `python -m bnn.report --help` lists the options.

Nothing here trains. `rows` has one record a run, which `row_files` keeps as CSV; `configurations`
groups rows over seeds, `histories` their metrics by epoch. Tables (`table`, `differences`), figures
(`dot_plot`, `cost_plot`) and Markdown pages (`document`) are functions of these. `experiment` reads
a store; `html` lays it out as one page. `generated` holds the project's pages to the
committed tables, conf/ and the registries.
"""
