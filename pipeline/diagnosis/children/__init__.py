"""Programs that `pipeline.diagnosis.child` starts; each prints JSON objects, one a line, as it finds something out."""
