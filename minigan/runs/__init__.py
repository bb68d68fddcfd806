"""A training run: its options, its folder, its checkpoints and its loop.

    options       the options of a run, from the command line and from options.json
    models        from options to a trainer; from a run's folder to its generator
    run_folder    what a run's folder holds besides checkpoints
    checkpoints   everything a step depends on, in one file
    loop          train, log, save; resume exactly
    commandline   errors for people, exit statuses
"""
