"""Converts models in a process of its own, for `conversion.py`: a request and an answer a line."""

import json
import os
import sys

import keras

from keras_nas.devices.conversion import convert_one


def main() -> None:
    # What TensorFlow prints must not end up between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        answer = {}
        try:
            convert_one(json.loads(line))
        except ValueError as error:
            answer["error"] = str(error)
        keras.backend.clear_session()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
