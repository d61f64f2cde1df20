"""Studies: trials of an Optuna study that several processes share, stop early, lose and take up again.

The only room that imports optuna, beside the search space. `settings` says what a study is asked for, `storage` where it
lies, `ledger` which trial is whose (the sweeper's side), `trial` what a job does with one (the job's side), `optuna_parts`
has Optuna's samplers and pruners by name, `outcome` what a person reads at the end.
"""
