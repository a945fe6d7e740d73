# The server for trained models: docker build -t retop . && docker compose up
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md constraints.txt ./
COPY src ./src
RUN python -m venv /opt/retop \
    && /opt/retop/bin/pip install --no-cache-dir --constraint constraints.txt \
       --extra-index-url https://download.pytorch.org/whl/cpu '.[serve]'

FROM python:3.12-slim-bookworm
COPY --from=build /opt/retop /opt/retop
RUN useradd --create-home --uid 10001 retop
USER 10001
ENV PATH=/opt/retop/bin:$PATH HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/live', timeout=4)"]
# Other machines reach the server through the published port, so it asks for the key.
ENTRYPOINT ["retop", "serve", "--host", "0.0.0.0", "--port", "8000", "--api-key-file", "/run/secrets/api_key"]
CMD ["/models"]
