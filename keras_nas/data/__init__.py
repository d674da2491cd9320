"""Images and labels: sources, splits, augmentation and the resumable input pipeline."""
