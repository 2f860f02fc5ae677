"""Models as files for other runtimes: :func:`export_onnx`, :func:`export_program`."""

from attnzoo.export.exported import Exported, export_onnx, export_program

__all__ = ["Exported", "export_onnx", "export_program"]
