# Three images: `docker build --target serve|lambda|train .`; serve, the last one, is the default.
# pip's own configuration (another index, a CA) comes in as a secret and stays out of the image:
#     docker build --secret id=pip,src=$HOME/.config/pip/pip.conf .

# Name and digest together, for all platforms that it has. --build-arg BASE=... takes another of
# the same Python, which constraints.txt is for.
ARG BASE=python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS pip
WORKDIR /build
# pip lives outside the environments that it fills, so none of it is left in them.
RUN python -m venv /opt/pip && python -m venv --without-pip /opt/skyspotter
COPY pyproject.toml constraints.txt ./
# The dependencies alone, which change less often than the code.
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    print(*project['dependencies'], sep='\n', file=open('serving.txt', 'w')); \
    print(*project['optional-dependencies']['training'], sep='\n', file=open('training.txt', 'w'))"

FROM pip AS dependencies
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/pip/bin/pip --python /opt/skyspotter/bin/python install \
    --no-cache-dir --no-compile --constraint constraints.txt --requirement serving.txt
# What no answer needs: ONNX Runtime's second copy of itself, for programs in C, and its tools for
# making models, with the protobuf that they are for; numpy's for building extensions and for
# testing itself; the languages that Pygments can colour; tests, headers, types and what only
# debuggers read.
# Bytecode cannot be written on a read-only root, so it is now: 26 MB that spare each start about
# 1.4 of 2.2 seconds of CPU (`PYTHONPYCACHEPREFIX=/none` shows how it would be without). It is not
# checked against the sources' times, which a copy may change.
WORKDIR /opt/skyspotter/lib/python3.11/site-packages
RUN rm -rf onnxruntime/capi/libonnxruntime.so* numpy/f2py numpy/distutils \
        onnxruntime/transformers onnxruntime/quantization onnxruntime/tools google \
        numpy/_core/_simd.*.so numpy/_core/*_tests.*.so \
    && find pygments/lexers -type f ! -name '_*' -delete \
    && find . -depth -type d -name tests -exec rm -r {} + \
    && find . -type f \( -name '*.pyi' -o -name '*.h' -o -name '*.a' -o -name '*.px[di]' -o -name '*.pyx' \) -delete \
    && strip --strip-unneeded uvloop/*.so httptools/parser/*.so \
    && python -m compileall -q --invalidation-mode unchecked-hash .

FROM pip AS training-dependencies
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/pip/bin/pip --python /opt/skyspotter/bin/python install --no-cache-dir \
    --constraint constraints.txt --requirement serving.txt --requirement training.txt

FROM pip AS lambda-runtime
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/pip/bin/pip install --no-cache-dir --no-compile --constraint constraints.txt \
    --target /opt/lambda awslambdaric \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/lambda

FROM ${BASE} AS code
WORKDIR /code
COPY LICENSE ./
COPY ml ml
COPY app app
COPY weights /weights
# Readable for every user, whatever the checkout's umask was.
RUN python -m compileall -q --invalidation-mode unchecked-hash . && chmod -R a+rX . /weights

FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="skyspotter" \
    org.opencontainers.image.description="Tells what flies on a photo of the sky" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT"
# ONNX Runtime would report its use to its makers, and keep a number of the device on disk.
ENV PATH=/opt/skyspotter/bin:$PATH PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
WORKDIR /srv/skyspotter
COPY --from=dependencies /opt/skyspotter /opt/skyspotter
COPY --from=code /weights/__init__.py /weights/README.md /weights/*.onnx weights/
COPY --from=code /code ./
# The first import writes the bytecode of what it uses of Python itself, which slim images lack;
# it loads the model too, so an image that cannot is never built. The base's own pip goes.
RUN python -c "import app.handler, app.__main__, ml.__main__" \
    && rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/ensurepip \
        /usr/local/lib/python3.*/site-packages/*
# A number, so that Kubernetes can see that it is not root. Nothing here belongs to it.
USER 10001:10001

FROM ${BASE} AS train
LABEL org.opencontainers.image.title="skyspotter-train" \
    org.opencontainers.image.description="Trains a Skyspotter classifier" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT"
# torch asks for the user's name and for places to write to.
ENV PATH=/opt/skyspotter/bin:$PATH PYTHONPATH=/srv/skyspotter PYTHONUNBUFFERED=1 \
    HOME=/tmp USER=skyspotter ORT_DISABLE_TELEMETRY=1
WORKDIR /srv/training
COPY --from=training-dependencies /opt/skyspotter /opt/skyspotter
COPY --from=code /weights /srv/skyspotter/weights
COPY --from=code /code /srv/skyspotter
RUN chown 10001:10001 /srv/training
USER 10001:10001
STOPSIGNAL SIGINT
# Photos are mounted at /data, the folder of runs at /srv/training/runs.
ENTRYPOINT ["python", "-m", "ml"]
CMD ["train", "/data"]

FROM runtime AS lambda
COPY --from=lambda-runtime /opt/lambda /opt/lambda
ENV PYTHONPATH=/opt/lambda
ENTRYPOINT ["python", "-m", "awslambdaric"]
CMD ["app.handler.handler"]

FROM runtime AS serve
ENV PORT=8000
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health')"]
# On SIGTERM it answers what it has in hand, for 30 seconds at most: wait longer than that.
CMD ["python", "-m", "app", "--host", "0.0.0.0"]
