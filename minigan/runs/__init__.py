"""A training run: its options, its folder, its checkpoints and its loop.

    options       the options of a run, from the command line and from options.json
    models        from options to a model; from a run's folder to what it has learned
    run_folder    what a run's folder holds besides checkpoints
    checkpoints   everything a step depends on, in one file
    best          the best state by a quick measure, and any checkpoint by its name
    evaluation    the quick measures of a model while it trains
    spreadsheet   stats.csv
    pace          how long it will take, said early
    balance       has one side won?
    versions      what the bits of a run depend on beside its options
    loop          train, log, save; resume exactly
    commandline   errors for people, exit statuses
"""
