"""What a run found, for people: one self-contained HTML page, and a summary for the terminal."""

from keras_nas.report.data import ReportData
from keras_nas.report.page import render
from keras_nas.report.summary import summary

__all__ = ["ReportData", "render", "summary"]
