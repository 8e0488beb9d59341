"""What `python -m pipeline.doctor` finds out: facts are read here, verdicts are pure functions in `checks/`.

What may crash, hang or print (TensorFlow, the driver's and CUDA's libraries, training) runs in processes of its own,
in `children/`.
"""
