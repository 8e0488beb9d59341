"""Pages: HTML in one file each, which asks nobody for anything; what reports of runs and of data share."""
