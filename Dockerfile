# The serving environment alone: no torch. The models are part of the image.
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /srv/skyspotter

# Dependencies first: they change less often than the code and are cached as one layer.
COPY pyproject.toml constraints.txt README.md ./
COPY ml/__init__.py ml/
RUN mkdir -p app weights \
    && touch app/__init__.py weights/__init__.py \
    && pip install --no-cache-dir --constraint constraints.txt --editable .

COPY app app
COPY ml ml
COPY weights weights

RUN useradd --system skyspotter
USER skyspotter
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health')"]
CMD ["uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "20"]
