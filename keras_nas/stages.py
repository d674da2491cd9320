"""What each stage of the pipeline does: reads its files, calls the method, returns its files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import tensorflow as tf

from keras_nas import (
    baselines_stage,
    exporting_stage,
    final_stages,
    hardcore_stages,
    measuring_stages,
    single_path_stages,
    tf_nas_stages,
)
from keras_nas.context import Context, Outputs
from keras_nas.report import render, summary
from keras_nas.report.front import front_page, front_summary
from keras_nas.report_files import gather, gather_front


def report(context: Context) -> Outputs:
    """`report.html` and `summary.txt`."""
    data = gather(context.config, context.path, context.examples.source.class_names)
    page = render(data)
    listed = [*data.files, ("report.html", len(page.encode()))]
    return {"report.html": page, "summary.txt": summary(dataclasses.replace(data, files=listed))}


def front(context: Context) -> Outputs:
    """`report.html` and `summary.txt` of several limits."""
    config = context.config
    points = gather_front(config, context.folder)
    return {
        "report.html": front_page(config.name, points),
        "summary.txt": front_summary(config.name, points),
    }


COMMON: dict[str, Callable[[Context], Outputs]] = {
    stage.__name__: stage
    for stage in (
        measuring_stages.profile,
        final_stages.finetune,
        final_stages.train,
        exporting_stage.export,
        measuring_stages.measure,
        report,
        baselines_stage.baselines,
        front,
    )
}
"""Stage name -> what it does, whatever the method."""
SEARCHES: dict[str, dict[str, Callable[[Context], Outputs]]] = {
    "hardcore_nas": hardcore_stages.STAGES,
    "tf_nas": tf_nas_stages.STAGES,
    "single_path": single_path_stages.STAGES,
}
"""Method -> what its own stages do, also in place of a common one."""


def run(name: str, context: Context) -> Outputs:
    """Runs one stage.

    Raises:
      RuntimeError: TensorFlow failed; the message is that of the image or file behind it.
      ValueError, OSError: see the stages.
    """
    try:
        return (COMMON | SEARCHES[context.config.method])[name](context)
    except tf.errors.OpError as error:
        raise RuntimeError(f"stage {name!r}: {reason(error)}") from error


def reason(error: tf.errors.OpError) -> str:
    """One line. What Python raised in a data pipeline arrives as text, with its traceback."""
    pattern = r"^(?:\{\{.*\}\} )?\w*Error: (.+)\n(?=Traceback)"
    raised = re.search(pattern, error.message, re.MULTILINE)
    if raised:
        return raised[1]
    return f"TensorFlow failed: {error.message.strip().splitlines()[0]} (--debug shows more)."
