"""Images a second that threads decode and cut to 224x224, and how much Python's lock hinders them.

    python -m benchmarks.reading --threads=1,2

Reading an image is one call of Python, and what a call does under Python's lock, threads do one
after another. With a share f of the time under it, n threads are 1 / (f + (1 - f) / n) times as
fast as one (Amdahl), and no number of them is more than 1 / f times as fast. The JPEGs are made:
digits blown up to 500x375 pixels, with noise.
"""

import io
import threading
import time

import numpy as np
from absl import app, flags
from PIL import Image

from keras_nas.data import images, sources

_THREADS = flags.DEFINE_list("threads", ["1", "2"], "Numbers of threads; 1 is among them.")
_IMAGES = flags.DEFINE_integer("images", 600, "Images that each of them reads, together.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds of interleaved timing.")

RESOLUTION = 224


def main(argv: list[str]) -> None:
    del argv
    files = jpegs(16)
    counts = sorted({1, *map(int, _THREADS.value)})
    read(files, 0, 50)
    rates = np.array(
        [[_IMAGES.value / seconds(files, n) for n in counts] for _ in range(_ROUNDS.value)]
    )  # [rounds, numbers of threads]
    print(f"{np.mean([len(file) for file in files]) / 1e3:.0f} kB a file")
    for n, own in zip(counts, rates.T, strict=True):
        low, rate, high = np.percentile(own, (25, 50, 75))
        line = f"{n} threads: {rate:.0f} images a second ({low:.0f} to {high:.0f})"
        if n > 1:
            speedup = np.median(own / rates[:, 0])
            locked = max(n / speedup - 1, 0) / (n - 1)
            line += f", {speedup:.2f} times one thread: {locked:.0%} of an image under the lock"
        print(line)


def jpegs(count: int) -> list[bytes]:
    """Encoded images of 500x375 pixels."""
    noise = np.random.default_rng(0)
    files = []
    for small in sources.load("digits", resolution=8).train.images[:count]:
        large = np.asarray(Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC))
        noisy = (large + noise.normal(0, 6, large.shape)).clip(0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noisy).save(stream, "JPEG", quality=90)
        files.append(stream.getvalue())
    return files


def read(files: list[bytes], first: int, count: int) -> None:
    """What the input pipeline calls for each image."""
    for i in range(first, first + count):
        stored = images.decode(files[i % len(files)], "image")
        images.random_resized_crop(stored, RESOLUTION, 0, i)


def seconds(files: list[bytes], threads: int) -> float:
    """For all images, shared among threads."""
    share = _IMAGES.value // threads
    workers = [
        threading.Thread(target=read, args=(files, thread * share, share))
        for thread in range(threads)
    ]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


if __name__ == "__main__":
    app.run(main)
