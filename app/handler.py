"""The service as an AWS Lambda handler: `app.handler.handler`.

Mangum would run the whole lifespan, start and stop, on every invocation, and with it load the
model each time. So the lifespan is off, and the model is loaded once, while Lambda imports this.
"""
# ruff: noqa: E402

import gc

gc.disable()  # while all is imported: next to nothing of it is garbage, and to look takes time

from mangum import Mangum

from app.main import app

app.state.service.inference.load()
handler = Mangum(app, lifespan="off")

gc.freeze()  # what is there by now stays, and need not be looked at again
gc.enable()
