"""An HTTP server for bundles: starlette and uvicorn (`pip install mirage-gan[serve]`)."""
