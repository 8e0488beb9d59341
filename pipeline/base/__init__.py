"""What every room stands on: errors, files, names, signals, output. Needs neither TensorFlow nor NumPy."""
