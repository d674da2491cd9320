"""Runs the project on a Cloud TPU: create, install, start, follow, delete, restart.

    python -m tpu.launch run --name=nas --zone=us-west4-a -- --config=... --workdir=gs://...

Everything goes through the `gcloud` program of the person who runs it. None of it has been run on
Cloud TPU: it is tested on what it would call (docs/tpu.md).
"""
