"""Log lines for people (`console`) or for programs (`json`)."""

import json
import logging
import os
import sys
import time
import warnings


class LineFormatter(logging.Formatter):
    """Writes a log record and its `extra={"fields": {...}}` as one line."""

    def __init__(self, format: str) -> None:
        super().__init__()
        self._json = format == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. In JSON a traceback is one of the fields."""
        fields = {"message": record.getMessage().rstrip()} | getattr(record, "fields", {})
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        stamp += f".{record.msecs:03.0f}Z"
        if self._json:
            return json.dumps({"time": stamp, "level": record.levelname.lower()} | fields)
        words = [str(fields.pop("message"))]
        traceback = fields.pop("traceback", "")
        words += [f"{name}={_quoted(value)}" for name, value in fields.items()]
        return f"{stamp} {record.levelname} {' '.join(words)}" + (traceback and f"\n{traceback}")


def _quoted(value: object) -> str:
    """Quote a value with spaces or line breaks, so that it cannot forge a field or a line."""
    text = str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text)


def on_lambda() -> bool:
    """Return whether this process is an AWS Lambda function."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def configure(format: str) -> None:
    """Log to standard error: the service, its server, and warnings of libraries.

    uvicorn's access log is disabled, because the service writes its own. Pillow and the form
    parser are silenced, because their messages quote what clients send.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(format))
    fallback = logging.lastResort = logging.StreamHandler(sys.stderr)  # loggers without a handler
    fallback.setLevel(logging.WARNING)
    fallback.setFormatter(handler.formatter)
    logging.captureWarnings(True)
    for name in ("skyspotter", "uvicorn", "asyncio", "py.warnings"):
        log = logging.getLogger(name)
        log.handlers = [handler]
        log.setLevel(logging.INFO)
        log.propagate = not on_lambda()  # Lambda's root handler would write each line again
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("PIL", "python_multipart"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="PIL")
