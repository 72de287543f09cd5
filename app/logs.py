"""One line a request: for people (`console`) or for programs (`json`)."""

import json
import logging
import os
import sys
import time
import warnings


class Lines(logging.Formatter):
    """Formats a record and the facts that came with it as `extra={"facts": {…}}`."""

    def __init__(self, format: str) -> None:
        super().__init__()
        self._json = format == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; a traceback, where there is one, is part of it in JSON."""
        facts = {"message": record.getMessage().rstrip()} | getattr(record, "facts", {})
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        stamp += f".{record.msecs:03.0f}Z"
        if self._json:
            return json.dumps({"time": stamp, "level": record.levelname.lower()} | facts)
        words = [str(facts.pop("message"))]
        traceback = facts.pop("traceback", "")
        words += [f"{name}={_plain(value)}" for name, value in facts.items()]
        return f"{stamp} {record.levelname} {' '.join(words)}" + (traceback and f"\n{traceback}")


def _plain(value: object) -> str:
    """Write a value so that it cannot be taken for another, nor begin a line of its own."""
    text = str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text)


def on_lambda() -> bool:
    """Say whether this process is an AWS Lambda function."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def configure(format: str) -> None:
    """Send the service's lines and its server's to standard error, and others' as lines like them.

    uvicorn's own line a request is one too many. What libraries have to say of files and forms
    would quote them.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(format))
    others = logging.lastResort = logging.StreamHandler(sys.stderr)  # who have no handler
    others.setLevel(logging.WARNING)
    others.setFormatter(handler.formatter)
    logging.captureWarnings(True)
    for name in ("skyspotter", "uvicorn", "asyncio", "py.warnings"):
        log = logging.getLogger(name)
        log.handlers = [handler]
        log.setLevel(logging.INFO)
        log.propagate = not on_lambda()  # whose own handler would write each line once more
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("PIL", "python_multipart"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="PIL")
