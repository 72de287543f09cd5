"""The service as an AWS Lambda handler: `app.handler.handler`.

Mangum would run the whole lifespan, start and stop, on every invocation, and with it load the
model each time. So the lifespan is off, and the model is loaded once, while Lambda imports this.
"""

from mangum import Mangum

from app.main import app

app.state.inference.load()
handler = Mangum(app, lifespan="off")
