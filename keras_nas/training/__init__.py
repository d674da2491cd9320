"""What a training recipe is made of: schedules, optimizers, losses, mixup, averages, metrics."""
