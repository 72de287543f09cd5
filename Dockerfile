# Three images: `docker build --target serve|lambda|train .`. The default is serve, the last one.
# Pass pip's configuration (another index, a CA) as a secret, so that it does not enter the image:
#     docker build --secret id=pip,src=$HOME/.config/pip/pip.conf .

# The digest covers all platforms. --build-arg BASE=... names another image with the same Python
# version, which constraints.txt needs.
ARG BASE=python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS pip
WORKDIR /build
# pip is outside the environment that it fills, so that the image does not contain pip.
RUN python -m venv /opt/pip && python -m venv --without-pip /opt/skyspotter
COPY pyproject.toml constraints.txt ./
# Only the dependencies: they change less often than the code.
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
# Remove what serving does not need: ONNX Runtime's second copy of its library, for C programs; its
# tools for making models, with protobuf; numpy's tools for extensions and its tests; Pygments'
# lexers; all tests, headers, type stubs and debug symbols.
# Compile now, because the root is read-only at run time: 26 MB of bytecode save about 1.4 of 2.2
# seconds of CPU per start (`PYTHONPYCACHEPREFIX=/none` shows a start without it). Hashes that are
# not checked replace file times, which a copy may change.
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
# Make files readable for all users, whatever the checkout's umask was.
RUN python -m compileall -q --invalidation-mode unchecked-hash . && chmod -R a+rX . /weights

FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="skyspotter" \
    org.opencontainers.image.description="Classifies what flies in a photo of the sky" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT"
# Without this, ONNX Runtime sends telemetry and stores a device id on disk.
ENV PATH=/opt/skyspotter/bin:$PATH PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
WORKDIR /srv/skyspotter
COPY --from=dependencies /opt/skyspotter /opt/skyspotter
COPY --from=code /weights/__init__.py /weights/README.md /weights/*.onnx weights/
COPY --from=code /code ./
# This import writes the bytecode of the standard library, which slim images lack. It also loads the
# model, so the build fails if the model does not load. The base image's pip is removed.
RUN python -c "import app.handler, app.__main__, ml.__main__" \
    && rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/ensurepip \
        /usr/local/lib/python3.*/site-packages/*
# A numeric id lets Kubernetes check that it is not root. The user owns no files here.
USER 10001:10001

FROM ${BASE} AS train
LABEL org.opencontainers.image.title="skyspotter-train" \
    org.opencontainers.image.description="Trains a Skyspotter classifier" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT"
# torch needs a user name and a home directory that it can write to.
ENV PATH=/opt/skyspotter/bin:$PATH PYTHONPATH=/srv/skyspotter PYTHONUNBUFFERED=1 \
    HOME=/tmp USER=skyspotter ORT_DISABLE_TELEMETRY=1
WORKDIR /srv/training
COPY --from=training-dependencies /opt/skyspotter /opt/skyspotter
COPY --from=code /weights /srv/skyspotter/weights
COPY --from=code /code /srv/skyspotter
RUN chown 10001:10001 /srv/training
USER 10001:10001
STOPSIGNAL SIGINT
# Mount photos at /data and the folder for runs at /srv/training/runs.
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
# After SIGTERM it finishes running requests for up to 30 seconds: set a longer stop timeout.
CMD ["python", "-m", "app", "--host", "0.0.0.0"]
