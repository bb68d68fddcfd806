"""The models: a file each, which states a paper's system.

`python -m minigan.train --model NAME` trains the class that NAME.py defines, a
`minigan.trainer.Model`. The folder is the list.
"""
