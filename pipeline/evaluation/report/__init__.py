"""`report.html`: what a run, or several beside one another, came to, in one file that needs nothing else."""
