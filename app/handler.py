"""The service as an AWS Lambda handler: `app.handler.handler`.

Mangum would run the whole lifespan, and so load the model, on every invocation. So the lifespan
is off, and the model is loaded once, while Lambda imports this module.
"""
# ruff: noqa: E402

import gc

gc.disable()  # imports create almost no garbage, and looking for it takes time

from mangum import Mangum

from app.main import app

app.state.service.inference.load()
handler = Mangum(app, lifespan="off")

gc.enable()
